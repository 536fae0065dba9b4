"""tfrmod"""

"""One-stage detectors built from a config: backbone, neck and head by name.

`build_detector` reads a dict or a YAML file. Each part is a frozen dataclass
whose fields are the keys of its dict; `detectors.config` has the tables of
names. All detectors have the same interface, `detectors.detector.OneStageDetector`.
"""

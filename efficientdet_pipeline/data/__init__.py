"""Data: preparation of shards, TFRecord reader, sampler, input pipeline, class weights."""

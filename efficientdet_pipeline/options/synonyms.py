"""Names of options and modes in other tools, for suggestions."""

import difflib
from collections.abc import Collection, Iterable

OPTIONS: dict[str, str] = {
    name: option
    for option, names in {
        "url_dataset": "data dataset datasets dataset_path dataset_dir dataset_url data_path data_url images "
        "images_dir train_data training_data data_yaml input_data",
        "pretrained_ckpt": "weights ckpt checkpoint ckpt_path checkpoint_path init_checkpoint init_ckpt pretrained "
        "pretrained_weights pretrained_model pretrained_checkpoint initial_weights load_weights finetune "
        "fine_tune_checkpoint",
        "backbone_ckpt": "backbone backbone_weights backbone_checkpoint backbone_pretrained pretrained_backbone "
        "imagenet imagenet_weights imagenet_ckpt encoder_weights",
        "min_score_thresh": "conf confidence conf_thres conf_thresh conf_threshold confidence_threshold score "
        "score_thr score_thresh score_threshold threshold thresh min_score min_confidence",
        "learning_rate": "lr lr0 base_lr init_lr initial_lr learningrate initial_learning_rate",
        "strategy": "device devices gpu gpus accelerator num_gpus ngpus multi_gpu distributed distribution_strategy",
        "num_epochs": "epoch epochs n_epochs nb_epochs max_epochs train_epochs total_epochs num_train_epochs",
        "batch_size": "batch batches bs batchsize train_batch train_batch_size global_batch_size per_device_batch_size",
        "image_size": "imgsz img img_size imgsize imagesize size input_size resolution input_shape image_shape",
        "num_workers": "workers nthreads num_threads_per_worker num_proc jobs",
        "run_name": "name exp exp_name experiment experiment_name run run_id",
        "workspace": "project output_dir outdir out_dir save_dir logdir log_dir results_dir work_dir runs_dir",
        "model_dir": "checkpoint_dir ckpt_dir run_path train_dir",
        "model_name": "model arch architecture network cfg net",
        "num_classes": "classes nc n_classes nb_classes",
        "label_map": "names class_names labels labelmap label_map_path classes_file label_file class_list",
        "optimizer": "opt optim",
        "precision": "amp fp16 half bf16 dtype mixed_precision_policy",
        "train_valid_split": "split val_split valid_split validation_split train_split train_val_split test_size",
        "test_split": "test_ratio",
        "augment_recipe": "aug augmentation augmentations augment_policy data_augmentation hyp",
        "patience": "early_stop early_stopping early_stopping_patience",
        "saved_model_dir": "saved_model savedmodel saved_model_path model_path frozen_graph pb pb_path",
        "input_image": "source image image_path input input_dir input_path input_images picture photo",
        "output_image_dir": "output_images image_output_dir save_images",
        "save_freq": "save_period save_steps save_interval checkpoint_freq checkpoint_interval",
        "map_freq": "eval_freq eval_interval eval_every val_interval validation_freq eval_steps",
        "lr_decay_method": "scheduler lr_scheduler lr_schedule lr_scheduler_type cos_lr schedule",
        "lr_warmup_epoch": "warmup warmup_epochs",
        "freeze_backbone_epochs": "freeze freeze_backbone",
        "accumulate_steps": "accumulate grad_accum gradient_accumulation gradient_accumulation_steps nbs",
        "clip_gradients_norm": "grad_clip clip_grad clip_grad_norm max_grad_norm gradient_clip_val",
        "moving_average_decay": "ema ema_decay",
        "weight_decay": "wd decay l2",
        "tf_random_seed": "random_seed random_state",
        "grad_checkpoint": "gradient_checkpointing",
        "source_format": "annotation_format data_format dataset_format label_format",
        "overwrite": "exist_ok force",
        "max_boxes_to_draw": "max_det max_detections",
        "hparams": "hyperparameters hparam config_override",
        "path_output": "export_dir export_path",
        "train_file_pattern": "train_records train_tfrecord train_tfrecords training_file_pattern",
        "val_file_pattern": "val_records val_tfrecord val_tfrecords validation_file_pattern eval_file_pattern",
        "val_json_file": "val_annotations ground_truth gt",
        "traceback": "stacktrace stack_trace",
        "debug": "verbose",
        "eval_samples": "num_eval_samples max_eval_samples",
        "max_instances_per_image": "max_instances max_boxes",
        "positives_momentum": "positives_normalizer",
    }.items()
    for name in names.split()
}
ALSO = {
    "pretrained_ckpt": "--mode=eval, export and infer take --path_ckpt",
    "workspace": "--model_dir is the folder of a single run",
    "strategy": "--strategy=gpus uses all GPUs of this machine; by default one is used, if available",
}
"""Appended to a suggestion if the word has several meanings."""
SENTENCES: dict[str, str] = {
    **dict.fromkeys(
        ("resume", "continue", "restart", "resume_from", "resume_from_checkpoint", "auto_resume"),
        "not needed: the same command, or the same --run_name, resumes a run from its last "
        "checkpoint; --overwrite restarts it",
    ),
    **dict.fromkeys(
        ("iou", "iou_thres", "iou_thresh", "iou_threshold", "nms", "nms_thresh", "nms_threshold"),
        "try --hparams=nms_configs.iou_thresh=0.5",
    ),
    **dict.fromkeys(
        ("noval", "no_val", "val", "valid", "validate", "evaluate"),
        "--mode=train trains without evaluation, --mode=traineval with evaluation, and --mode=eval only evaluates",
    ),
    **dict.fromkeys(("predict", "detect", "infer", "inference"), "did you mean --mode=infer?"),
    **dict.fromkeys(("download_weights", "list_weights", "model_zoo", "hub"), "did you mean --mode=weights?"),
    **dict.fromkeys(("train", "export", "inspect", "benchmark", "verify", "traineval"), "did you mean --mode={}?"),
    **dict.fromkeys(("v", "V", "ver"), "did you mean --version?"),
    "task": "did you mean --mode?",
}
MODES: dict[str, str] = {
    **dict.fromkeys("predict prediction detect detection inference saved_model_infer".split(), "infer"),
    **dict.fromkeys("saved_model_video camera webcam stream rtsp".split(), "video"),
    **dict.fromkeys("val valid validate validation evaluate evaluation test metrics".split(), "eval"),
    **dict.fromkeys("fit training".split(), "train"),
    **dict.fromkeys("train_and_eval trainval train_eval train-eval".split(), "traineval"),
    **dict.fromkeys("freeze frozen saved_model savedmodel save deploy tflite onnx ckpt".split(), "export"),
    **dict.fromkeys("convert prepare create data tfrecord tfrecords records create_tfrecords".split(), "dataset"),
    **dict.fromkeys("check lint diagnose diagnosis analyze analyse".split(), "doctor"),
    **dict.fromkeys("bench speed profile".split(), "benchmark"),
    **dict.fromkeys("pretrained checkpoints zoo fetch download list_weights".split(), "weights"),
    **dict.fromkeys("classification class predict_class".split(), "classify"),
    **dict.fromkeys("embed embedding embeddings feature extract".split(), "features"),
    **dict.fromkeys("view show visualize visualise summary info stats".split(), "inspect"),
}


def suggest_option(typed: str, known: Collection[str], modes: Collection[str] = ()) -> str:
    """Returns the suggestion for an unknown option: its name in this program, or the nearest name.

    Args:
      typed: the option without its dashes.
      known: the existing options, aliases included.
      modes: the existing modes.
    """
    name = typed.strip("-").replace("-", "_")
    for spelled in (name, name.lower(), name.lower().removeprefix("no_"), name.lower().removeprefix("no")):
        if spelled in known:
            return f"did you mean --{spelled}?"
        if spelled in OPTIONS:
            option = OPTIONS[spelled]
            return f"did you mean --{option}?" + (f" ({ALSO[option]}.)" if option in ALSO else "")
        if spelled in SENTENCES:
            sentence = SENTENCES[spelled].format(spelled)
            return sentence if sentence.endswith("?") else sentence + "."
        if spelled in modes:
            return f"did you mean --mode={spelled}?"
    near = _nearest(name.lower(), [*known, *OPTIONS], cutoff=0.6) or _nearest(name.lower(), known, cutoff=0.5)
    return f"did you mean --{OPTIONS.get(near, near)}?" if near else "`--helpfull` lists every option."


def suggest_argument(typed: str, known: Collection[str]) -> str:
    """Returns the suggestion for an unknown keyword argument: its name in this program, or the nearest name."""
    name = typed.lower()
    near = OPTIONS.get(name, "") if OPTIONS.get(name, "") in known else _nearest(name, known, cutoff=0.5)
    return f"did you mean {near}?" if near else f"known: {', '.join(sorted(known))}."


def suggest_mode(typed: str, known: Collection[str]) -> str:
    """Returns the suggestion for an unknown mode."""
    name = typed.strip().lower()
    near = name if name in MODES else _nearest(name, [*known, *MODES], cutoff=0.6) or _nearest(name, known, cutoff=0.4)
    near = MODES.get(near, near)
    return f"did you mean {near}?" if near else "`--help` lists them."


def _nearest(word: str, words: Iterable[str], *, cutoff: float) -> str:
    return next(iter(difflib.get_close_matches(word, words, n=1, cutoff=cutoff)), "")

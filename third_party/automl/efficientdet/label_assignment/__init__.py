"""Label assignment of priors to objects: one module per method, per image and in `keras.ops`.

A prior is an anchor box, or the cell of an anchor-free head. `max_iou` and
`atss` use boxes only; `sim_ota` and `task_aligned` use predictions too.
"""

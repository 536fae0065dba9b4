"""Which prior should answer for which object: one module per method, all per image and in `keras.ops`.

A prior is an anchor box, or the cell of an anchor-free head. `max_iou` and
`atss` look at boxes alone; `sim_ota` and `task_aligned` at predictions too.
"""

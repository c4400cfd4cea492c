"""Habits from torch that cannot work on plain arrays, and the form that they have here."""

_NO_GRADIENT_HOOKS = (
    "there are no hooks; wrap the layer with bp.custom_vjp to see or change its gradient"
)
_NO_HOOKS = (
    "there are no hooks; wrap the layer in a Module whose forward does what the hook would do"
)

HABITS = {
    "zero_grad": "gradients are not stored, so there is nothing to zero: "
    "value, grads = bp.value_and_grad(loss)(model, x, y)",
    "requires_grad_": "freeze and unfreeze parameters by path: model.freeze('encoder'), model.unfreeze()",
    "cuda": "name the device once: model.to(bp.device('cuda'))",
    "cpu": "name the device once: model.to(bp.device('cpu'))",
    "float": "cast with model.to(dtype='float32')",
    "double": "cast with model.to(dtype='float64')",
    "half": "cast with model.to(dtype='float16')",
    "bfloat16": "cast with model.to(dtype='bfloat16')",
    "register_forward_hook": _NO_HOOKS,
    "register_forward_pre_hook": _NO_HOOKS,
    "register_full_backward_pre_hook": _NO_GRADIENT_HOOKS,
    "register_backward_hook": _NO_GRADIENT_HOOKS,
    "register_full_backward_hook": _NO_GRADIENT_HOOKS,
    "compile": "compile the step, not the model: step = bp.compile(step)",
    "type": "cast with model.to(dtype='float64')",
    "to_empty": "move with model.to(bp.device('cuda')), and draw weights anew with reset_parameters()",
    "xpu": "name the device once: model.to(bp.device('cuda'))",
    "ipu": "name the device once: model.to(bp.device('cuda'))",
    "grad": "gradients are not stored but returned: value, grads = bp.value_and_grad(loss)(model, x, y)",
    "share_memory": "processes do not share arrays here; send model.state_dict()",
}
"""Attribute -> what to write instead."""

"""What a module computes, in NumPy, at every stage before `bspc-lower`.

Between any two passes `evaluate` gives the same numbers; that is how a pass is tested. Each op is
computed by its definition, in the element type the module names, one op after another:
    interpreter.py   functions, blocks, and the table of ops
    scalars.py       arith and math, on one number or on an array of them
    tensors.py       tensor
    structured.py    linalg, every named op by its generic form
    recurrent.py     bspc, by the loop nests in dialects/bspc.py
"""

from rtmobile_iree.reference.interpreter import evaluate

__all__ = ["evaluate"]

"""What a GPU's program reads, computes and waits for, counted; and an ESTIMATE of its time.

The lowered kernels are run thread by thread, their integers and addresses alone: `decode` reads
them off the IR, `host` runs the program around them, `threads` a kernel. docs/gpu_cost.md says what
the estimate rests on and what it leaves out.
"""

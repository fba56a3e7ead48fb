"""What a program would take on a phone's core, from its machine code: an ESTIMATE, never a time.

docs/cycles.md says how it is made and what it leaves out.
"""

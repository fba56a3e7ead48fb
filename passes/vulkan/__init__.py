"""Kernels for Vulkan, one concept a file: lanes, cells, the persistent scan, linear layers."""

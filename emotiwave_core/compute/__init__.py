"""Devices, several processes, and memory."""

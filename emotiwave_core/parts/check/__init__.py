"""Checks of a part.

`laws_in_child.check` holds it to the laws of its kind and measures it, in a child process, for it may hang;
`in_process.check_class` tries the laws in this process. `measure` has the measurements, `describe` what is known of a
name without trying it.
"""

"""A new plugin, written from templates: `emotiwave plugins new KIND NAME`."""

"""A trained run that answers while it is asked: streams of a camera and a microphone, and a server."""

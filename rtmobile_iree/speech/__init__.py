"""Real speech for the demonstration and the tests: recorded clips and their log-mel frames."""

from rtmobile_iree.speech.features import Clip, clip_frames, load_clips, log_mel, read_audio

__all__ = ["Clip", "clip_frames", "load_clips", "log_mel", "read_audio"]

"""One plugin of each kind, sound but for the module: importing it seeds one generator and draws from another."""
# ruff: noqa: D101 -- the name of a broken plugin says what is wrong with it

import random

import torch
from broken_encoders import SoundEncoder
from broken_fusions import SoundFusion
from broken_policies import SoundPolicy

torch.manual_seed(0)
NUMBER = random.random()


class EncoderOfADrawingModule(SoundEncoder):
    breaks = ("import_draws_nothing",)


class FusionOfADrawingModule(SoundFusion):
    breaks = ("import_draws_nothing",)


class PolicyOfADrawingModule(SoundPolicy):
    breaks = ("import_draws_nothing",)

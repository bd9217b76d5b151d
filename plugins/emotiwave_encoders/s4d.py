"""The encoder `s4d`: diagonal state space layers, a linear recurrence that is computed as a long convolution."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotiwave_core.config.options import fraction, one_of, positive
from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import Encoded, Encoder, ParameterGroup
from emotiwave_core.layers.pooling import Pool, Pooling
from emotiwave_core.layers.sequence import zero_masked


class S4D(Encoder):
    """S4D-Lin (Gu et al. 2022, "On the Parameterization and Initialization of Diagonal State Space Models", NeurIPS).

    x [B, T, F], mask [B, T] -> states [B, T, W], pooled [B, W] and the same mask. After a linear map to W features come
    residual layers, z + GLU(dropout(GELU(SSM(LayerNorm(z))))), and a last LayerNorm; the SSM is `StateSpace`. As in the
    authors' code the dropout takes whole channels, each at all steps of a sample.

    A masked step stands in its place as zero input: the system swings on for that time without being driven. An empty
    sequence pools to zero.

    width: W. state_size: N, even, of each feature's system. layers: their number. dropout: of channels, before a GLU.
    bidirectional: each layer also runs a second system from the end to the start; without it no state sees the future.
    pooling: "last", "mean", "max" or "attention", over the states of the steps that are set.
    """

    def __init__(
        self,
        in_features: int,
        *,
        width: int = 128,
        state_size: int = 64,
        layers: int = 2,
        dropout: float = 0.1,
        bidirectional: bool = True,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        positive("s4d", width=width, state_size=state_size, layers=layers)
        if state_size % 2:
            raise SettingsError(f"The option state_size of s4d must be even, not {state_size}.")
        fraction("s4d", dropout=dropout)
        one_of("s4d", Pooling, pooling=pooling)
        self.out_features = width
        self.project = nn.Linear(in_features, width)
        self.layers = nn.ModuleList(S4DLayer(width, state_size, dropout, bidirectional) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.pool = Pool(pooling, width)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] bool of any pattern -> Encoded."""
        z = self.project(zero_masked(x, mask))
        for layer in self.layers:
            z = layer(z, mask)
        states = zero_masked(self.norm(z), mask)
        return Encoded(states, self.pool(states, mask), mask)

    def parameter_groups(self) -> list[ParameterGroup]:
        """No weight decay of Δ and A, as in the authors' code: it would make every step longer and A's swing slower."""
        spaces = [module for module in self.modules() if isinstance(module, StateSpace)]
        dynamics = [weight for space in spaces for weight in (space.log_step, space.log_decay, space.frequency)]
        return [ParameterGroup(dynamics, weight_decay=False)]

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """The weights of the pooling "attention", [B, T]; None with another."""
        return self.pool.weights(self(x, mask).states, mask)


class S4DLayer(nn.Module):
    """z + GLU(dropout(GELU(SSM(LayerNorm(z))))), the norm first as in Xiong et al. 2020."""

    def __init__(self, width: int, state_size: int, dropout: float, bidirectional: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.ssm = StateSpace(width, state_size, 2 if bidirectional else 1)
        self.dropout = nn.Dropout1d(dropout)
        self.mix = nn.Linear(width, 2 * width)

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        """z [B, T, W], mask [B, T] -> [B, T, W]; masked steps are not read, and mean nothing afterwards."""
        y = self.ssm(zero_masked(self.norm(z), mask))
        kept = self.dropout(F.gelu(y).transpose(1, 2)).transpose(1, 2)  # a channel is kept or lost at all steps
        mixed: Tensor = F.glu(self.mix(kept), dim=-1)
        return z + mixed


class StateSpace(nn.Module):
    """One linear system of N states for each feature: x' = A x + B u, y = 2 Re(C x) + D u, with a diagonal A.

    It holds N / 2 complex states, the other half being their conjugates. S4D-Lin starts at A_n = -1/2 + iπn. B is 1,
    as only its product with C shows. The step Δ of each feature starts between 0.001 and 0.1, and makes the system
    discrete by zero-order hold: x_k = exp(ΔA) x_{k-1} + (exp(ΔA) - 1) / A u_k, from a state of zero.
    """

    def __init__(self, width: int, state_size: int, directions: int) -> None:
        super().__init__()
        shape = (directions, width, state_size // 2)
        self.log_step = nn.Parameter(torch.empty(directions, width, 1).uniform_(math.log(0.001), math.log(0.1)))
        self.log_decay = nn.Parameter(torch.full(shape, math.log(0.5)))  # the real part of A stays below 0
        self.frequency = nn.Parameter(math.pi * torch.arange(shape[-1]).float().repeat(directions, width, 1))
        self.C = nn.Parameter(math.sqrt(0.5) * torch.randn(*shape, 2))  # real and imaginary part
        self.D = nn.Parameter(torch.randn(width))

    def forward(self, u: Tensor) -> Tensor:
        """u [B, T, W], zero where there is no input -> y [B, T, W]."""
        if torch.compiler.is_exporting():
            return self.convolved(u)  # ONNX has no complex numbers, and no FFT that is exact at every length
        steps = u.shape[1]
        with torch.autocast(u.device.type, enabled=False):  # there is no FFT of bfloat16
            u = u.to(self.D.dtype)
            response = torch.fft.rfft(self.kernel(steps), 2 * steps)  # twice as long, so that nothing wraps around
            ahead, *back = response.unbind()
            both = ahead + back[0].conj() if back else ahead  # the conjugate convolves backwards in time
            spectrum = torch.fft.rfft(u, 2 * steps, dim=1) * both.T
            y: Tensor = torch.fft.irfft(spectrum, 2 * steps, dim=1)[:, :steps] + self.D * u
        return y

    def kernel(self, steps: int) -> Tensor:
        """The impulse response of each system without D u: 2 Re(C A̅^t B̅) for t below `steps`, [directions, W, T]."""
        A = torch.complex(-self.log_decay.exp(), self.frequency)
        exponent = self.log_step.exp() * A
        weight = torch.view_as_complex(self.C) * torch.expm1(exponent) / A  # C B̅
        # A̅^t with t = i r + j is A̅^(i r) A̅^j: a matrix product over few powers instead of one power for each t.
        r = math.ceil(math.sqrt(steps))
        t = torch.arange(r, device=exponent.device)
        coarse, fine = ((exponent[..., None] * power).exp() for power in (r * t, t))  # [directions, W, N / 2, r]
        return 2.0 * torch.einsum("dwn,dwni,dwnj->dwij", weight, coarse, fine).real.flatten(2)[..., :steps]

    def convolved(self, u: Tensor) -> Tensor:
        """`forward` without FFT: the sum over all steps, in real numbers; of T^2 products where that has T log T."""
        steps = u.shape[1]
        ahead, *back = self.real_kernel(steps).unbind()  # [W, T] each
        before = F.pad(ahead.flip(-1), (0, steps - 1)) if back else ahead.flip(-1)  # from T - 1 steps ago to now …
        weights = before + F.pad(back[0], (steps - 1, 0)) if back else before  # … and on to T - 1 steps from now
        padded = F.pad(u.transpose(1, 2), (steps - 1, steps - 1 if back else 0))
        y = F.conv1d(padded, weights[:, None], groups=u.shape[2])
        return y.transpose(1, 2) + self.D * u

    def real_kernel(self, steps: int) -> Tensor:
        """`kernel`, [directions, W, T], from the real and the imaginary part of every number."""
        decay, frequency = -self.log_decay.exp(), self.frequency  # A
        step = self.log_step.exp()
        real, imaginary = step * decay, step * frequency  # ΔA
        t = (0.5 * real).tanh()
        grown = 2.0 * t / (1.0 - t)  # exp(real) - 1, without its rounding
        # exp(ΔA) - 1, whose real part is written so that nothing cancels.
        a = grown * imaginary.cos() - 2.0 * (0.5 * imaginary).sin().square()
        b = (grown + 1.0) * imaginary.sin()
        # C (exp(ΔA) - 1) / A
        size = decay.square() + frequency.square()
        p, q = (a * decay + b * frequency) / size, (b * decay - a * frequency) / size
        C, D = self.C.unbind(-1)
        p, q = C * p - D * q, C * q + D * p
        time = torch.arange(steps, device=step.device)
        angle = imaginary[..., None] * time  # [directions, W, N / 2, T]
        swing = p[..., None] * angle.cos() - q[..., None] * angle.sin()
        return 2.0 * ((real[..., None] * time).exp() * swing).sum(dim=2)


@hookimpl
def register_encoders(register: Callable[[str, type[Encoder]], None]) -> None:
    """Offer `s4d`."""
    register("s4d", S4D)

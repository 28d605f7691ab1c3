"""A model's shape and arithmetic."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Optional, Union

from ._core import Path, call, ffi, lib, path_bytes, text
from .engine import Engine, handle_of

Value = Union[int, float, str, bool]


def written(value: Value) -> str:
    """As il_config_set takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


_FIELDS = [name for name, _ in ffi.typeof("il_config").fields]


class Config:
    """Everything that fixes a model's shape and arithmetic. Fields are those of il_config in innerloop.h; :meth:`set`
    takes the keys of config.json. A model's own configuration is a copy: changing it does not change the model.

    >>> config = Config.preset("tiny", "ttt_linear")
    >>> config.set(num_hidden_layers=3)
    >>> config.layers, config.mixers[0], config.parameters_learned_while_reading > 0
    (3, 'ttt_linear', True)
    """

    vocab_size: int
    width: int
    ffn_width: int
    layers: int
    heads: int
    mini_batch: int
    bos_token: int
    eos_token: int
    tie_word_embeddings: int
    fast_head_size: int
    fast_head_tokens: int
    fast_head_lr: float
    ttt_base_lr: float
    rope_theta: float
    rms_norm_eps: float

    def __init__(self, struct: Any) -> None:
        object.__setattr__(self, "_struct", struct)

    @classmethod
    def preset(cls, preset: str, mixer: str = "ttt_linear_decay", backbone: Optional[str] = None) -> Config:
        """preset: "tiny", "small", "125m", "350m", "760m" or "1b". mixer: what mixes the tokens of a layer, such as
        "ttt_linear", "ttt_mlp", "ttt_linear_decay", "gated_delta", "self_attention". backbone: "mamba",
        "transformer", or None for the mixer's usual one."""
        struct = ffi.new("il_config *")
        call(
            lib.il_config_preset,
            preset.encode(),
            mixer.encode(),
            ffi.NULL if backbone is None else backbone.encode(),
            struct,
        )
        return cls(struct)

    @classmethod
    def load(cls, path: Path, *, engine: Optional[Engine] = None) -> Config:
        """Of a model directory or a GGUF file."""
        struct = ffi.new("il_config *")
        call(lib.il_config_load, handle_of(engine).pointer, path_bytes(path), struct)
        return cls(struct)

    def set(self, fields: Optional[Mapping[str, Value]] = None, /, **more: Value) -> None:
        """Sets fields by their keys in config.json, and checks the whole. Where it fails nothing is changed."""
        struct = ffi.new("il_config *", self._struct[0])
        for key, value in {**(fields or {}), **more}.items():
            call(lib.il_config_set, struct, key.encode(), written(value).encode())
        call(lib.il_config_check, struct)
        self._struct[0] = struct[0]

    @property
    def mixers(self) -> list[str]:
        """The mixer of every layer."""
        return [text(lib.il_mixer_name(lib.il_config_mixer(self._struct, i))) for i in range(self.layers)]

    @property
    def weights(self) -> str:
        """How linear layers are held: "f32", "bf16", "int8" or "int4"."""
        return text(lib.il_weight_type_name(self._struct.weights))

    @property
    def parameters_learned_while_reading(self) -> int:
        """How many parameters are the learned start of fast weights."""
        return int(lib.il_config_fast_weights(self._struct))

    def flops_per_token(self, position: int = 0, logits: bool = True) -> float:
        """Floating-point operations of a forward pass for one token, `position` tokens in."""
        return float(lib.il_config_flops_per_token(self._struct, position, logits))

    def copy(self) -> Config:
        """Another one with the same values."""
        return Config(ffi.new("il_config *", self._struct[0]))

    def __getattr__(self, name: str) -> Any:
        if name in _FIELDS:
            return getattr(self._struct, name)
        raise AttributeError(f"a configuration has no field {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _FIELDS:
            raise AttributeError(f"a configuration has no field {name!r}")
        setattr(self._struct, name, value)

    def __dir__(self) -> Iterator[str]:
        return iter([*super().__dir__(), *_FIELDS])

    def __repr__(self) -> str:
        return (
            f"<innerloop.Config: {text(lib.il_mixer_name(self._struct.mixer))}, {self.layers} layers, "
            f"width {self.width}, vocabulary {self.vocab_size}>"
        )

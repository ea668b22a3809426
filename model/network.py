"""RepNet (Dwibedi et al., "Counting Out Time", CVPR 2020) in Keras 3.

It uses `keras.ops`, so that the same code trains and runs with any backend. What depends on a single frame (`encode`, `taps`)
is separate from what depends on a window (`embed`, `heads`): all strides share the former.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from model.config import FRAME_SIZE, SMALL_ENCODER_STEPS, TAP_REACH, WINDOW_FRAMES, RepNetConfig

_RELU_GAIN = math.sqrt(2.0 / (1.0 - 1.0 / math.pi))
"""Keeps the variance of a standardized convolution of rectified unit normals at one (Brock et al., 2021, section 3)."""

_DROPOUT = 0.25

_SHARPNESSES = (2.0, 8.0, 32.0)
"""Initial values of the learned sharpnesses of "kernels": similarities of 0.14, 3e-4 and 0 at the mean distance."""

Tensor = Any
"""A tensor of the Keras backend in use."""


class StandardizedConv2D(keras.layers.Conv2D):
    """A convolution whose kernel is standardized per output channel, with a learned gain.

    It replaces batch normalization (Brock et al., "NF-ResNets", 2021): no frame depends on other frames, and at inference it is
    a plain convolution.

    Attributes:
      initial_gain: Initial value of the gain; small for the last convolution of a residual branch.
    """

    def __init__(self, filters: int, kernel_size: int, initial_gain: float = 1.0, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, padding="same", **kwargs)
        self.initial_gain = initial_gain

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Adds the gain to the convolution's variables."""
        super().build(input_shape)
        initializer = keras.initializers.Constant(self.initial_gain)
        self.gain = self.add_weight(name="gain", shape=(self.filters,), initializer=initializer)

    def save_own_variables(self, store: dict[str, Tensor]) -> None:
        """Stores all variables. The inherited method only stores kernel and bias, without the gain."""
        for i, variable in enumerate(self.weights):
            store[str(i)] = variable

    def load_own_variables(self, store: dict[str, Tensor]) -> None:
        """Restores what `save_own_variables` stored."""
        for i, variable in enumerate(self.weights):
            variable.assign(store[str(i)])

    def standardized_kernel(self) -> Tensor:
        """Returns the effective kernel, (height, width, in, out) float32."""
        kernel = ops.cast(self.kernel, "float32")
        fan_in = math.prod(kernel.shape[:-1])
        centred = kernel - ops.mean(kernel, axis=(0, 1, 2))
        scale = ops.cast(self.gain, "float32") * _RELU_GAIN
        return centred * ops.rsqrt(ops.var(kernel, axis=(0, 1, 2)) * fan_in + 1e-6) * scale

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Returns the convolution with the standardized kernel."""
        return super().convolution_op(inputs, ops.cast(self.standardized_kernel(), inputs.dtype))


class Normalize(keras.layers.Layer):
    """Computes (x − 127.5) / 127.5. Subtracting first is exact for whole numbers, even in bfloat16."""

    HALF = 127.5

    def call(self, frames: Tensor) -> Tensor:
        """Maps 0..255 to −1..1; keeps the shape."""
        return (frames - self.HALF) / self.HALF


def _small_encoder(channels: tuple[int, ...]) -> keras.Model:
    """Returns the small encoder: (B, 112, 112, 3) in 0..255 to (B, 7, 7, channels[-1])."""
    frames = keras.Input((FRAME_SIZE, FRAME_SIZE, 3))
    x = Normalize(name="normalize")(frames)
    for stage, (width, (kernel_size, stride)) in enumerate(zip(channels, SMALL_ENCODER_STEPS, strict=True)):
        x = StandardizedConv2D(width, kernel_size, strides=stride, activation="relu", name=f"stage{stage}_down")(x)
        branch = StandardizedConv2D(width, 3, activation="relu", name=f"stage{stage}_1")(x)
        branch = StandardizedConv2D(width, 3, initial_gain=0.3, name=f"stage{stage}_2")(branch)
        x = keras.layers.Activation("relu", name=f"stage{stage}_out")(keras.layers.Add(name=f"stage{stage}_add")([x, branch]))
    return keras.Model(frames, x, name="encoder")


def _resnet_encoder() -> keras.Model:
    """Returns Keras' ResNet50V2 cut at `conv4_block3_out`: (B, 112, 112, 3) in 0..255 to (B, 7, 7, 1024)."""
    frames = keras.Input((FRAME_SIZE, FRAME_SIZE, 3))
    whole = keras.applications.ResNet50V2(include_top=False, weights=None, input_tensor=Normalize(name="normalize")(frames))
    return keras.Model(frames, whole.get_layer("conv4_block3_out").output, name="encoder")


@contextlib.contextmanager
def _layer_defaults(policy: str) -> Iterator[None]:
    """Makes `policy` the default of layers built in the context, and their inputs float32 with channels last.

    The user's keras.json may say otherwise, and `keras.applications` has no arguments for them.
    """
    before = keras.config.dtype_policy(), keras.config.floatx(), keras.config.image_data_format()
    _set_layer_defaults(policy, "float32", "channels_last")
    try:
        yield
    finally:
        _set_layer_defaults(*before)


def _set_layer_defaults(policy: str | keras.DTypePolicy, floatx: str, image_data_format: str) -> None:
    keras.config.set_dtype_policy(policy)
    keras.config.set_floatx(floatx)
    keras.config.set_image_data_format(image_data_format)


class TemporalContext(keras.layers.Layer):
    """The 3×3×3 convolution dilated by 3 in time, with its batch norm and ReLU.

    Each of the kernel's three taps in time sees one frame. So their products are computed once per frame (`taps`), however many
    strides and windows the frame is in. A window only adds up three of them (`call`).
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.norm = keras.layers.BatchNormalization(epsilon=1e-3, name="norm", dtype="float32")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the kernel for features of `input_shape` (B, 7, 7, C)."""
        self.kernel = self.add_weight(name="kernel", shape=(3, 3, 3, input_shape[-1], self.channels), initializer="he_normal")
        self.bias = self.add_weight(name="bias", shape=(self.channels,), initializer="zeros", dtype="float32")
        self.norm.build((None, WINDOW_FRAMES, *input_shape[1:-1], self.channels))

    def taps(self, features: Tensor) -> Tensor:
        """Maps features of single frames, (B, 7, 7, C), to taps, (B, 7, 7, 3 · channels).

        Tap 0 of the kernel reads the past. So the first third of the channels contributes to the position three after the
        frame's own, the second to its own, the last to the position three before.
        """
        kernel = ops.cast(self.kernel, features.dtype)
        flat = ops.reshape(ops.transpose(kernel, (1, 2, 3, 0, 4)), (3, 3, kernel.shape[3], 3 * self.channels))
        return ops.conv(features, flat, padding="same", data_format="channels_last")

    def call(self, taps: Tensor, training: bool = False) -> Tensor:
        """Maps the taps of whole windows, (W, 64, 7, 7, 3 · channels), to features, (W, 64, 7, 7, channels) float32."""
        past, present, future = ops.split(taps, 3, axis=-1)
        zeros = ops.zeros_like(past[:, :TAP_REACH])
        past = ops.concatenate([zeros, past[:, :-TAP_REACH]], axis=1)
        future = ops.concatenate([future[:, TAP_REACH:], zeros], axis=1)
        summed = ops.cast(past, "float32") + ops.cast(present, "float32") + ops.cast(future, "float32") + self.bias
        return ops.relu(self.norm(summed, training=training))


class SelfSimilarity(keras.layers.Layer):
    """Maps embeddings, (W, 64, embedding_width), to frame similarities, (W, 64, 64, channels); see `RepNetConfig`."""

    def __init__(self, config: RepNetConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the learned sharpnesses, if the kind of similarity has any."""
        if self.config.similarity == "relative":
            self.log_sharpness = self.add_weight(
                name="log_sharpness", shape=(), initializer=keras.initializers.Constant(math.log(6.0))
            )
        elif self.config.similarity == "kernels":
            self.log_sharpness = self.add_weight(
                name="log_sharpness", shape=(self.channels,), initializer=self._spread_sharpness
            )

    @property
    def channels(self) -> int:
        """Number of similarity matrices per window."""
        if self.config.similarity != "kernels":
            return 1
        return len(_SHARPNESSES) * (2 if self.config.layout_channels else 1)

    def _spread_sharpness(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        repeated = _SHARPNESSES * (shape[0] // len(_SHARPNESSES))
        return ops.convert_to_tensor([math.log(sharpness) for sharpness in repeated], dtype=dtype)

    def call(self, embeddings: Tensor) -> Tensor:
        """Returns rows that sum to 1 ("fixed") or to 16 ("relative", about 1 at a match), or values in 0..1 ("kernels")."""
        if self.config.similarity == "fixed":
            return ops.softmax(-_square_distances(embeddings) / self.config.temperature, axis=-1)[..., None]
        if self.config.similarity == "relative":
            relative = _relative_distances(embeddings)
            return ops.softmax(-relative * ops.exp(self.log_sharpness), axis=-1)[..., None] * (WINDOW_FRAMES / 4)
        width = self.config.embedding_channels
        parts = [embeddings[..., :width], embeddings[..., width:]] if self.config.layout_channels else [embeddings]
        relative = ops.stack([_relative_distances(part) for part in parts for _ in _SHARPNESSES], axis=-1)
        return ops.exp(-relative * ops.exp(self.log_sharpness))


def _square_distances(embeddings: Tensor) -> Tensor:
    """Returns the squared distances, (W, 64, 64), of embeddings, (W, 64, E)."""
    squares = ops.sum(ops.square(embeddings), axis=-1)
    products = ops.matmul(embeddings, ops.transpose(embeddings, (0, 2, 1)))
    return squares[:, :, None] - 2.0 * products + squares[:, None, :]


def _relative_distances(embeddings: Tensor) -> Tensor:
    """Returns the squared distances, (W, 64, 64), divided by their mean over the window."""
    distances = ops.maximum(_square_distances(embeddings), 0.0)
    return distances / (ops.mean(distances, axis=(1, 2), keepdims=True) + 1e-6)


def align_lags(similarity: Tensor) -> Tensor:
    """Shifts rows so that lags line up: (W, 64, 64, C) to (W, 64, 127, C).

    The value at [i, i + lag] moves to [i, 63 + lag]. Values beyond the window are 0.
    """
    channels = similarity.shape[-1]
    reach = WINDOW_FRAMES - 1
    # Reading rows of 190 as rows of 191 shifts each row by one more place.
    width = WINDOW_FRAMES + 2 * reach
    flat = ops.reshape(ops.pad(similarity, ((0, 0), (0, 0), (reach, reach), (0, 0))), (-1, WINDOW_FRAMES * width, channels))
    flat = ops.pad(flat, ((0, 0), (0, WINDOW_FRAMES), (0, 0)))
    return ops.reshape(flat, (-1, WINDOW_FRAMES, width + 1, channels))[:, :, : WINDOW_FRAMES + reach]


class TransformerLayer(keras.layers.Layer):
    """A pre-norm transformer layer whose feed-forward part has the same width."""

    def __init__(self, channels: int, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_channels = channels // num_heads
        self.norm1 = keras.layers.LayerNormalization(epsilon=1e-6, name="norm1")
        self.norm2 = keras.layers.LayerNormalization(epsilon=1e-6, name="norm2")
        self.query, self.key, self.value, self.output_projection, self.widen, self.narrow = (
            keras.layers.Dense(channels, name=name) for name in ("query", "key", "value", "output", "widen", "narrow")
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds the sublayers, which all keep the shape."""
        for layer in (
            self.norm1,
            self.norm2,
            self.query,
            self.key,
            self.value,
            self.output_projection,
            self.widen,
            self.narrow,
        ):
            layer.build(input_shape)

    def _attend(self, x: Tensor) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return ops.transpose(ops.reshape(y, (-1, WINDOW_FRAMES, self.num_heads, self.head_channels)), (0, 2, 1, 3))

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / math.sqrt(self.head_channels)
        attended = ops.transpose(ops.matmul(ops.softmax(scores, axis=-1), value), (0, 2, 1, 3))
        return self.output_projection(ops.reshape(attended, (-1, WINDOW_FRAMES, self.num_heads * self.head_channels)))

    def call(self, x: Tensor) -> Tensor:
        """Maps (W, 64, channels) to the same shape."""
        x = x + self._attend(self.norm1(x))
        return x + self.narrow(ops.relu(self.widen(self.norm2(x))))


class Head(keras.layers.Layer):
    """Maps rows of the similarity matrix, (W, 64, row_length · similarity_channels), to logits, (W, 64, outputs)."""

    def __init__(self, config: RepNetConfig, outputs: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.position_channels = config.position_channels
        self.projection = keras.layers.Dense(config.head_channels, name="projection")
        self.transformer = TransformerLayer(config.head_channels, config.num_heads, name="transformer")
        self.dense1 = keras.layers.Dense(config.head_channels, activation="relu", name="dense1")
        self.dense2 = keras.layers.Dense(config.head_channels, activation="relu", name="dense2")
        self.dense3 = keras.layers.Dense(outputs, name="dense3")
        self.dropouts = [keras.layers.Dropout(_DROPOUT, name=f"dropout{i}") for i in range(3)]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the learned positions and builds the sublayers."""
        self.positions = self.add_weight(
            name="positions",
            shape=(1, WINDOW_FRAMES, self.position_channels),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )
        self.projection.build(input_shape)
        hidden = (*input_shape[:-1], self.projection.units)
        for layer in (self.transformer, self.dense1, self.dense2, self.dense3):
            layer.build(hidden)

    def call(self, rows: Tensor, training: bool = False) -> Tensor:
        """Returns the logits, (W, 64, outputs) float32."""
        x = self.transformer(self.projection(rows) + self.positions)
        for dropout, dense in zip(self.dropouts, (self.dense1, self.dense2, self.dense3), strict=True):
            x = dense(dropout(x, training=training))
        return x


class RepNet(keras.Model):
    """A RepNet of any configuration.

    The encoder and the taps compute in `frame_policy`. Everything per window is float32: it is cheap, and small differences
    matter there.

    Attributes:
      config: Sizes of the network.
      frame_policy: Keras dtype policy of the encoder and the taps: "float32", "bfloat16", "float16" or a "mixed_…" one.
    """

    def __init__(self, config: RepNetConfig, frame_policy: str = "float32", **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.config = config
        self.frame_policy = frame_policy
        with _layer_defaults(frame_policy):
            encoder = _small_encoder(config.encoder_channels) if config.encoder == "small" else _resnet_encoder()
            self.encoder = encoder
            self.temporal = TemporalContext(config.embedding_channels, name="temporal")
        with _layer_defaults("float32"):
            self.layout = None
            if config.layout_channels:  # a bias would cancel out in distances
                self.layout = keras.layers.Dense(config.layout_channels, use_bias=False, name="layout")
            self.similarity = SelfSimilarity(config, name="similarity")
            self.similarity_conv = keras.layers.Conv2D(
                config.similarity_channels, 3, padding="same", activation="relu", name="similarity_conv"
            )
            self.period_head = Head(config, config.num_periods, name="period_head")
            self.periodicity_head = Head(config, 1, name="periodicity_head")
        self.build((None, WINDOW_FRAMES, FRAME_SIZE, FRAME_SIZE, 3))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates every variable, so that weights can be assigned before the first call."""
        self.temporal.build(self.encoder.output_shape)
        if self.layout:
            self.layout.build((None, self.config.embedding_channels))
        self.similarity.build((None, WINDOW_FRAMES, self.embedding_width))
        self.similarity_conv.build((None, WINDOW_FRAMES, self.config.row_length, self.similarity.channels))
        rows = (None, WINDOW_FRAMES, self.config.row_length * self.config.similarity_channels)
        self.period_head.build(rows)
        self.periodicity_head.build(rows)
        self.built = True

    @property
    def embedding_width(self) -> int:
        """Values that describe a frame in its window: its embedding, followed by its layout if there is one."""
        height, width = self.encoder.output_shape[1:3]
        return self.config.embedding_channels + height * width * self.config.layout_channels

    def encode(self, frames: Tensor, training: bool = False) -> Tensor:
        """Maps frames, (B, 112, 112, 3), RGB in 0..255 (uint8 or float), to features, (B, 7, 7, C)."""
        return self.encoder(ops.cast(frames, self.temporal.compute_dtype), training=training)

    def taps(self, features: Tensor) -> Tensor:
        """Maps features, (B, 7, 7, C), to temporal taps, (B, 7, 7, 3E)."""
        return self.temporal.taps(features)

    def embed(self, taps: Tensor, training: bool = False) -> Tensor:
        """Maps windows of taps, (W, 64, 7, 7, 3E), to embeddings, (W, 64, embedding_width) float32."""
        features = self.temporal(taps, training=training)
        pooled = ops.max(features, axis=(2, 3))
        if self.layout is None:
            return pooled
        layout = ops.reshape(self.layout(features), (-1, WINDOW_FRAMES, self.embedding_width - pooled.shape[-1]))
        return ops.concatenate([pooled, layout], axis=-1)

    def heads(self, embeddings: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        """Maps embeddings to period logits, (W, 64, num_periods), and periodicity logits, (W, 64), both float32."""
        similarity = self.similarity(embeddings)
        if self.config.similarity_rows == "lags":
            similarity = align_lags(similarity)
        rows = self.similarity_conv(similarity)
        rows = ops.reshape(rows, (-1, WINDOW_FRAMES, self.config.row_length * self.config.similarity_channels))
        periodicity = self.periodicity_head(rows, training=training)
        return self.period_head(rows, training=training), ops.squeeze(periodicity, axis=-1)

    def call(self, windows: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        """Maps windows of frames, (W, 64, 112, 112, 3), RGB in 0..255, to the logits of `heads`."""
        frames = ops.reshape(windows, (-1, FRAME_SIZE, FRAME_SIZE, 3))
        taps = self.taps(self.encode(frames, training=training))
        taps = ops.reshape(taps, (-1, WINDOW_FRAMES, *taps.shape[1:]))
        return self.heads(self.embed(taps, training=training), training=training)

    def variables_by_name(self) -> dict[str, keras.Variable]:
        """Returns every variable by its canonical name, the one in the published checkpoints.

        Encoder layers are `base_model/layer_with_weights-M/<leaf>`, where M counts the layers with weights.
        """
        out: dict[str, keras.Variable] = {}
        for m, layer in enumerate(layer for layer in self.encoder.layers if layer.weights):
            for variable in layer.weights:
                out[f"base_model/layer_with_weights-{m}/{variable.name}"] = variable
        out["temporal_conv_layers/0/kernel"] = self.temporal.kernel
        out["temporal_conv_layers/0/bias"] = self.temporal.bias
        for variable in self.temporal.norm.weights:
            out[f"temporal_bn_layers/0/{variable.name}"] = variable
        if self.layout:
            out["layout/kernel"] = self.layout.kernel
        for variable in self.similarity.weights:
            out[f"similarity/{variable.name}"] = variable
        for variable in self.similarity_conv.weights:
            out[f"conv_3x3_layer/{variable.name}"] = variable
        out |= _head_variables(self.period_head, "", "fc_layers")
        out |= _head_variables(self.periodicity_head, "2", "within_period_fc_layers")
        return out


def _head_variables(head: Head, suffix: str, dense_name: str) -> dict[str, keras.Variable]:
    """Returns a head's variables by canonical name; `suffix` is "" for the period head and "2" for the periodicity head."""
    transformer = head.transformer
    layers = {
        f"input_projection{suffix}": head.projection,
        f"transformer_layers{suffix}/0/mha/wq": transformer.query,
        f"transformer_layers{suffix}/0/mha/wk": transformer.key,
        f"transformer_layers{suffix}/0/mha/wv": transformer.value,
        f"transformer_layers{suffix}/0/mha/dense": transformer.output_projection,
        f"transformer_layers{suffix}/0/ffn/layer_with_weights-0": transformer.widen,
        f"transformer_layers{suffix}/0/ffn/layer_with_weights-1": transformer.narrow,
        f"transformer_layers{suffix}/0/layernorm1": transformer.norm1,
        f"transformer_layers{suffix}/0/layernorm2": transformer.norm2,
        f"{dense_name}/0": head.dense1,
        f"{dense_name}/1": head.dense2,
        f"{dense_name}/2": head.dense3,
    }
    out = {f"{name}/{variable.name}": variable for name, layer in layers.items() for variable in layer.weights}
    out[f"pos_encoding{suffix}"] = head.positions
    return out

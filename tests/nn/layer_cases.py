"""The layers that are compared with torch's, with their arguments and inputs."""

from __future__ import annotations

import numpy as np

from nn.layers_against_torch import Case, case

R = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


def integers(high: int, *shape: int) -> np.ndarray:
    return R.integers(0, high, size=shape)


X = normal(4, 6)
IMAGE = normal(2, 4, 5, 6)

DENSE = [
    case("Linear", 6, 3, on=X),
    case("Linear", 6, 3, bias=False, on=normal(2, 3, 6)),
    case("Linear", 6, 1, on=normal(6)),
    case("Linear", 6, 3, on=normal(0, 6)),
    case("Linear", 6, 3, on=X.T.copy().T),
    case("Bilinear", 3, 2, 4, on=(normal(5, 3), normal(5, 2))),
    case("Bilinear", 3, 2, 4, False, on=(normal(2, 5, 3), normal(2, 5, 2))),
    case("Identity", 1, some=2, on=X),
    case("Flatten", on=IMAGE),
    case("Flatten", 0, on=IMAGE),
    case("Flatten", 0, on=np.asarray(2.0)),
    case("Flatten", 1, 2, on=IMAGE),
    case("Flatten", on=normal(0, 2, 3)),
    case("Unflatten", 1, (2, 3), on=X),
    case("Unflatten", -1, (3, -1), on=X),
    case("Unflatten", 1, (2, 3), on=normal(0, 6)),
]

EMBEDDING = [
    case("Embedding", 5, 3, on=integers(5, 2, 4)),
    case("Embedding", 5, 3, padding_idx=-2, on=np.asarray([3, 1, 3])),
    case("Embedding", 5, 3, 0, on=np.asarray(0)),
    case("Embedding", 5, 3, max_norm=1.0, on=np.asarray([4, 1, 4, 0])),
    case("Embedding", 5, 3, None, 0.5, 1.0, on=np.asarray([[4, 1], [4, 0]])),
    case("Embedding", 5, 3, scale_grad_by_freq=True, on=np.asarray([4, 1, 4, 0])),
    case("Embedding", 5, 3, on=np.zeros((0, 2), dtype=np.int64)),
]

PLAIN = """
    CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish PReLU ReLU ReLU6 SELU Sigmoid
    SiLU Softplus Softshrink Softsign Tanh Tanhshrink
""".split()  # noqa: SIM905 - read more easily

ACTIVATIONS = [
    *(case(name, on=X) for name in PLAIN),
    *(
        case(name, inplace=True, on=X.copy())
        for name in ("Hardsigmoid", "Hardswish", "LeakyReLU", "Mish", "ReLU6", "SELU", "SiLU")
    ),
    case("ReLU", True, on=normal(0, 3)),
    case("ReLU", on=np.asarray([0.0, -0.0, 1.0, -1.0])),
    case("CELU", 0.7, on=X),
    case("ELU", 0.7, True, on=X.copy()),
    case("GELU", "tanh", on=X),
    case("GLU", 0, on=X),
    case("Hardtanh", -0.5, 0.4, True, on=X.copy()),
    case("Softplus", 2.0, 1.0, on=X),
    case("Threshold", 0.1, -3.0, on=X),
    case("PReLU", 4, 0.1, on=IMAGE),
    case("PReLU", on=np.asarray(-2.0)),
    case("Softmax", 1, on=X),
    case("Softmax", -1, on=normal(3)),
    case("LogSoftmax", 0, on=X),
    case("Softmin", -1, on=IMAGE),
    case("Softmax2d", on=IMAGE),
    case("Softmax2d", on=normal(3, 2, 2)),
]

VOLUME = normal(2, 4, 3, 2, 5)

NORMS = [
    case("BatchNorm1d", 6, on=X),
    case("BatchNorm1d", 4, on=normal(3, 4, 2)),
    case("BatchNorm1d", 4, on=normal(1, 4, 2)),
    case("BatchNorm1d", 6, on=normal(0, 6)),
    case("BatchNorm1d", 6, 1e-3, None, on=X),
    case("BatchNorm1d", 6, momentum=0.0, affine=False, on=X),
    case("BatchNorm1d", 6, track_running_stats=False, on=X),
    case("BatchNorm1d", 6, bias=False, on=X),
    case("BatchNorm2d", 4, on=IMAGE),
    case("BatchNorm2d", 4, on=IMAGE.transpose(0, 1, 3, 2)),
    case("BatchNorm3d", 4, momentum=0.3, on=VOLUME),
    case("InstanceNorm1d", 4, on=normal(3, 4, 5)),
    case("InstanceNorm1d", 4, affine=True, on=normal(4, 5)),
    case("InstanceNorm1d", 4, affine=True, on=normal(2, 4, 0)),
    case("InstanceNorm2d", 4, 1e-3, 0.2, True, True, on=IMAGE),
    case("InstanceNorm2d", 4, track_running_stats=True, on=normal(4, 5, 6)),
    case("InstanceNorm2d", 4, momentum=None, track_running_stats=True, on=IMAGE),
    case("InstanceNorm3d", 4, affine=True, bias=False, on=VOLUME),
    case("LayerNorm", 6, on=X),
    case("LayerNorm", [3, 2], 1e-3, on=normal(4, 2, 3, 2)),
    case("LayerNorm", (6,), bias=False, on=normal(6)),
    case("LayerNorm", (5, 6), elementwise_affine=False, on=IMAGE),
    case("LayerNorm", 6, on=normal(0, 6)),
    case("RMSNorm", 6, on=X),
    case("RMSNorm", (5, 6), 1e-3, on=IMAGE),
    case("RMSNorm", 6, elementwise_affine=False, on=X),
    case("GroupNorm", 2, 4, on=IMAGE),
    case("GroupNorm", 4, 4, 1e-3, on=normal(3, 4, 2)),
    case("GroupNorm", 1, 4, affine=False, on=normal(3, 4)),
    case("GroupNorm", 2, 4, bias=False, on=VOLUME),
    case("GroupNorm", 2, 4, on=normal(0, 4, 3)),
    case("LocalResponseNorm", 3, on=IMAGE),
    case("LocalResponseNorm", 2, 0.1, 0.5, 2.0, on=normal(2, 4, 3)),
]

CONVOLUTIONS = [
    case("Conv1d", 4, 6, 3, on=normal(2, 4, 7)),
    case("Conv1d", 4, 6, 3, 2, 1, 2, 2, False, on=normal(4, 9)),
    case("Conv1d", 4, 4, 2, padding="same", groups=4, on=normal(2, 4, 5)),
    case("Conv1d", 4, 2, 1, on=normal(0, 4, 5)),
    case("Conv2d", 4, 3, (3, 2), on=IMAGE),
    case("Conv2d", 4, 3, 3, (2, 1), (1, 2), dilation=(1, 2), bias=False, on=IMAGE),
    case("Conv2d", 4, 3, 3, padding="valid", on=IMAGE.transpose(0, 1, 3, 2)),
    case("Conv2d", 4, 3, (2, 3), padding="same", dilation=2, on=IMAGE),
    case("Conv3d", 4, 2, (2, 1, 3), padding=1, on=VOLUME),
    case("ConvTranspose1d", 4, 6, 3, on=normal(2, 4, 7)),
    case("ConvTranspose1d", 4, 6, 3, 2, 1, 1, 2, False, 2, on=normal(4, 5)),
    case("ConvTranspose1d", 4, 2, 3, 2, on=normal(2, 4, 5), call={"output_size": [12]}),
    case("ConvTranspose2d", 4, 3, 3, 2, 1, on=IMAGE, call={"output_size": (2, 3, 10, 11)}),
    case("ConvTranspose2d", 4, 3, (3, 2), (2, 3), dilation=(1, 2), groups=1, on=IMAGE),
    case("ConvTranspose3d", 4, 2, 2, stride=2, output_padding=(1, 0, 1), on=VOLUME),
]

POSITIVE = np.abs(normal(4, 6)) + 0.1
SHARES = POSITIVE / POSITIVE.sum(axis=1, keepdims=True)
BITS = integers(2, 4, 6).astype(np.float64)
CLASSES = np.asarray([0, 5, 2, 2])

REGRESSION_LOSSES = [
    *(
        case(name, reduction=reduction, on=(X, normal(4, 6)))
        for name in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "PoissonNLLLoss")
        for reduction in ("none", "mean", "sum")
    ),
    case("SmoothL1Loss", beta=0.3, on=(X, normal(4, 6))),
    case("HuberLoss", "sum", 0.4, on=(X, normal(4, 6))),
    case("PoissonNLLLoss", False, True, on=(POSITIVE, 3 * POSITIVE)),
    case("GaussianNLLLoss", on=(X, normal(4, 6), POSITIVE)),
    case("GaussianNLLLoss", full=True, eps=0.5, reduction="sum", on=(X, X + 1, POSITIVE[:, :1])),
    case("KLDivLoss", reduction="batchmean", on=(np.log(SHARES), SHARES)),
    case("KLDivLoss", "sum", True, on=(np.log(SHARES), np.log(SHARES))),
    case("MSELoss", on=(normal(0, 2), normal(0, 2))),
    case("MSELoss", on=(np.asarray(1.0), np.asarray(2.0))),
]

CLASSIFICATION_LOSSES = [
    case("CrossEntropyLoss", on=(X, CLASSES)),
    case("CrossEntropyLoss", on=(X, SHARES)),
    case("CrossEntropyLoss", POSITIVE[0], 2, "sum", 0.1, on=(X, CLASSES)),
    case("CrossEntropyLoss", reduction="none", on=(IMAGE, integers(4, 2, 5, 6))),
    case("CrossEntropyLoss", on=(normal(6), np.asarray(3))),
    case("NLLLoss", on=(X, CLASSES)),
    case("NLLLoss", POSITIVE[0], 5, "none", on=(X, CLASSES)),
    case("BCELoss", on=(SHARES, BITS)),
    case("BCELoss", POSITIVE, reduction="sum", on=(SHARES, BITS)),
    case("BCEWithLogitsLoss", on=(X, BITS)),
    case("BCEWithLogitsLoss", POSITIVE, "none", POSITIVE[0], on=(X, BITS)),
    case("SoftMarginLoss", on=X, call={"target": 2 * BITS - 1}),
    case("MultiLabelSoftMarginLoss", on=(X, BITS)),
    case("MultiLabelSoftMarginLoss", POSITIVE[0], reduction="none", on=(X, BITS)),
]

LENGTHS = {"input_lengths": (6, 5), "target_lengths": (2, 3)}
TARGETS = np.asarray([[1, 3, 2], [2, 2, 1]])
STEPS = normal(6, 2, 4)
STEPS -= np.log(np.exp(STEPS).sum(axis=-1, keepdims=True))

SEQUENCE_LOSSES = [
    case("CTCLoss", on=STEPS, call={"targets": TARGETS, **LENGTHS}),
    case("CTCLoss", 3, "none", True, on=STEPS, call={"targets": TARGETS % 3, **LENGTHS}),
]

SIGNS = np.sign(normal(4))

MARGIN_LOSSES = [
    case("HingeEmbeddingLoss", on=POSITIVE, call={"target": 2 * BITS - 1}),
    case("HingeEmbeddingLoss", 0.3, "sum", on=POSITIVE, call={"target": 2 * BITS - 1}),
    case("MarginRankingLoss", on=(normal(4), normal(4)), call={"target": SIGNS}),
    case("MarginRankingLoss", 0.5, "none", on=(normal(4), normal(4)), call={"target": SIGNS}),
    case("CosineEmbeddingLoss", on=(X, normal(4, 6)), call={"target": SIGNS}),
    case("CosineEmbeddingLoss", -0.2, "none", on=(X, normal(4, 6)), call={"target": SIGNS}),
    case("MultiMarginLoss", on=(X, CLASSES)),
    case("MultiMarginLoss", 2, 0.5, POSITIVE[0], "sum", on=(X, CLASSES)),
    case(
        "MultiLabelMarginLoss", on=(X[:2], np.asarray([[3, 0, -1, 1, 1, 1], [5, -1, 0, 0, 0, 0]]))
    ),
    case("TripletMarginLoss", on=(X, normal(4, 6), normal(4, 6))),
    case("TripletMarginLoss", 0.5, 3.0, 1e-3, True, "none", on=(X, normal(4, 6), normal(4, 6))),
    case("TripletMarginWithDistanceLoss", margin=2.0, on=(X, normal(4, 6), normal(4, 6))),
    case(
        "TripletMarginWithDistanceLoss", swap=True, reduction="sum", on=(X, 0.5 * X, normal(4, 6))
    ),
]

DISTANCES = [
    case("CosineSimilarity", on=(X, normal(4, 6))),
    case("CosineSimilarity", 0, 1e-3, on=(IMAGE, IMAGE[:, ::-1])),
    case("PairwiseDistance", on=(X, normal(4, 6))),
    case("PairwiseDistance", 1.5, 1e-3, True, on=(X[0], normal(6))),
]

LOSSES = [*REGRESSION_LOSSES, *CLASSIFICATION_LOSSES, *MARGIN_LOSSES, *SEQUENCE_LOSSES, *DISTANCES]

FOLDS = [
    case("Unfold", (2, 3), on=IMAGE),
    case("Unfold", 2, 2, 1, (2, 1), on=IMAGE[0]),
    case("Fold", (5, 6), (2, 3), on=normal(2, 12, 16)),
    case("Fold", 4, 2, stride=2, on=normal(12, 4)),
]

SIGNAL = normal(2, 4, 9)

PADDINGS = [
    case("ZeroPad1d", 2, on=SIGNAL),
    case("ZeroPad2d", (1, 0, 2, -1), on=IMAGE),
    case("ZeroPad3d", 1, on=VOLUME),
    case("ConstantPad1d", (1, 2), 3.5, on=SIGNAL),
    case("ConstantPad2d", 1, -1.0, on=IMAGE),
    case("ConstantPad3d", (1, 2, 0, 1, 1, 0), 2.0, on=VOLUME),
    case("ReflectionPad1d", 2, on=SIGNAL),
    case("ReflectionPad2d", (1, 2, 3, 0), on=IMAGE),
    case("ReflectionPad3d", 1, on=VOLUME),
    case("ReplicationPad1d", (3, 1), on=SIGNAL[0]),
    case("ReplicationPad2d", 2, on=IMAGE),
    case("ReplicationPad3d", (1, 2, 0, 1, 1, 0), on=VOLUME),
    case("CircularPad1d", (3, 1), on=SIGNAL),
    case("CircularPad2d", 2, on=IMAGE[0]),
    case("CircularPad3d", 1, on=VOLUME),
    case("Conv1d", 4, 3, 3, padding=2, padding_mode="circular", on=SIGNAL),
    case("Conv2d", 4, 3, 3, padding=(1, 2), padding_mode="reflect", on=IMAGE),
    case("Conv2d", 4, 3, (2, 3), padding="same", padding_mode="replicate", on=IMAGE[0]),
    case("Conv2d", 4, 3, 2, padding="valid", padding_mode="reflect", on=IMAGE),
    case("Conv3d", 4, 2, 3, padding=1, padding_mode="replicate", on=VOLUME),
]

POOLS = [
    case("MaxPool1d", 2, on=SIGNAL),
    case("MaxPool1d", 3, 2, 1, 2, on=SIGNAL[0]),
    case("MaxPool2d", (3, 2), (2, 1), (1, 0), ceil_mode=True, on=IMAGE),
    case("MaxPool2d", 2, on=np.zeros((1, 2, 4, 4))),
    case("MaxPool2d", 2, return_indices=True, on=IMAGE),
    case("MaxPool2d", 2, on=IMAGE.transpose(0, 1, 3, 2)),
    case("MaxPool2d", 2, on=normal(0, 4, 5, 6)),
    case("MaxPool3d", 2, on=VOLUME),
    case("AvgPool1d", 2, on=SIGNAL),
    case("AvgPool1d", 3, 2, 1, True, False, on=SIGNAL),
    case("AvgPool2d", (2, 3), on=IMAGE),
    case("AvgPool2d", 3, 2, 1, count_include_pad=False, divisor_override=2, on=IMAGE),
    case("AvgPool2d", 2, on=normal(4, 1, 1), ceil_mode=True, padding=1),
    case("AvgPool3d", 2, 1, padding=1, on=VOLUME),
    case("LPPool1d", 2, 3, on=SIGNAL),
    case("LPPool2d", 3.0, (2, 3), 1, on=np.abs(IMAGE)),
    case("LPPool3d", 2, 2, ceil_mode=True, on=VOLUME),
]

ADAPTIVE = [
    case("AdaptiveAvgPool1d", 4, on=SIGNAL),
    case("AdaptiveAvgPool2d", (3, None), on=IMAGE),
    case("AdaptiveAvgPool2d", 1, on=IMAGE[0]),
    case("AdaptiveAvgPool3d", 2, on=VOLUME),
    case("AdaptiveMaxPool1d", 4, on=SIGNAL),
    case("AdaptiveMaxPool2d", (3, 4), return_indices=True, on=IMAGE),
    case("AdaptiveMaxPool3d", (None, 1, 2), on=VOLUME),
]

UNPOOLS = [
    case("MaxUnpool1d", 2, on=(normal(2, 4), np.asarray([[0, 3, 5, 6], [1, 2, 4, 7]]))),
    case(
        "MaxUnpool1d",
        2,
        on=normal(1, 2),
        call={"indices": np.asarray([[0, 4]]), "output_size": [5]},
    ),
    case("MaxUnpool2d", 2, 2, on=(normal(1, 1, 2, 2), np.asarray([[[[5, 3], [8, 15]]]]))),
    case("MaxUnpool3d", 2, on=(normal(1, 1, 1, 1, 2), np.asarray([[[[[5, 3]]]]]))),
]

VISION = [
    case("Upsample", (7, 8), on=IMAGE),
    case("Upsample", scale_factor=2, on=SIGNAL),
    case("Upsample", scale_factor=(1.5, 2), mode="bilinear", align_corners=False, on=IMAGE),
    case("Upsample", None, 1.7, "bicubic", True, True, on=IMAGE),
    case("UpsamplingNearest2d", scale_factor=2, on=IMAGE),
    case("UpsamplingBilinear2d", (7, 3), on=IMAGE),
    case("PixelShuffle", 2, on=IMAGE),
    case("PixelUnshuffle", 2, on=normal(2, 1, 4, 6)),
    case("ChannelShuffle", 2, on=IMAGE),
]

SEQUENCE, MEMORY = normal(3, 2, 4), normal(5, 2, 4)
FUTURE = np.triu(np.ones((3, 3), dtype=bool), 1)
PADDED = np.asarray([[False] * 3, [False, False, True]])

TRANSFORMERS = [
    case("MultiheadAttention", 4, 2, on=(SEQUENCE, MEMORY, MEMORY)),
    case("MultiheadAttention", 4, 1, 0.0, False, True, True, on=(SEQUENCE, MEMORY, MEMORY)),
    case("MultiheadAttention", 4, 4, kdim=3, vdim=5, on=(normal(3, 4), normal(5, 3), normal(5, 5))),
    case(
        "MultiheadAttention",
        4,
        2,
        batch_first=True,
        on=(normal(2, 3, 4), normal(2, 3, 4), normal(2, 3, 4)),
        call={"key_padding_mask": PADDED, "attn_mask": FUTURE, "average_attn_weights": False},
    ),
    case("TransformerEncoderLayer", 4, 2, 6, 0.0, on=SEQUENCE, call={"src_mask": FUTURE}),
    case("TransformerEncoderLayer", 4, 1, 6, 0.0, "gelu", 1e-3, True, True, on=normal(2, 3, 4)),
    case(
        "TransformerDecoderLayer",
        *(4, 2, 6, 0.0),
        on=(SEQUENCE, MEMORY),
        call={"tgt_mask": FUTURE, "tgt_is_causal": True, "tgt_key_padding_mask": PADDED},
    ),
    case("TransformerDecoderLayer", 4, 2, 6, 0.0, bias=False, on=(normal(3, 4), normal(5, 4))),
    case("Transformer", 4, 2, 1, 1, 6, 0.0, on=(MEMORY, SEQUENCE), call={"tgt_mask": FUTURE}),
    case(
        "Transformer", 4, 2, 2, 1, 6, 0.0, batch_first=True, on=(normal(2, 0, 4), normal(2, 3, 4))
    ),
]

CASES: list[Case] = [
    *DENSE,
    *EMBEDDING,
    *ACTIVATIONS,
    *NORMS,
    *CONVOLUTIONS,
    *FOLDS,
    *PADDINGS,
    *POOLS,
    *ADAPTIVE,
    *UNPOOLS,
    *VISION,
    *TRANSFORMERS,
    *LOSSES,
]

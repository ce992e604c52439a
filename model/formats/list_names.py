"""Lists the names that a model's file may contain: `python -m model.formats.list_names`.

It asks the installed Keras, tf_keras and TensorFlow, and writes `known_names.json`. Run it after
an upgrade of one of them, and read the difference: every new name is one that files may use.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Any

from model.formats.known_names import LIST, LOADS_OTHERS

# What a network is made of, as `keras.` and `tf_keras.` export it.
PARTS = (
    *("layers", "initializers", "constraints", "regularizers", "dtype_policies", "quantizers"),
    *("mixed_precision", "models", "random", "utils", "layers.experimental"),
    *("layers.experimental.preprocessing",),
)
OF_UTILS = {"FeatureSpace"}
OF_APPLICATIONS = "keras.src.applications."
# Written by Keras, exported by neither version or by one alone.
BESIDE = {
    *("Functional", "Model", "Sequential", "InputLayer", "Feature", "Cross", "GetItem", "Cast"),
    *("TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty"),
    *("TensorFlowOpLayer", "AddLoss", "AddMetric", "BatchNormalizationV1", "BatchNormalizationV2"),
    *("GRUV1", "GRUV2", "LSTMV1", "LSTMV2", "GRUCellV1", "GRUCellV2", "LSTMCellV1", "LSTMCellV2"),
    *("CuDNNGRU", "CuDNNLSTM", "PeepholeLSTMCell", "BaseRandomLayer", "DTypePolicy", "Policy"),
    *("PolicyV1", "BackwardsCompatibleQuantizer", "ThresholdedReLU", "KerasTensor"),
    *("ResidualWrapper", "DropoutWrapper", "DeviceWrapper", "NumericColumn", "BucketizedColumn"),
    *("EmbeddingColumn", "IndicatorColumn", "HashedCategoricalColumn", "IdentityCategoricalColumn"),
    *("VocabularyListCategoricalColumn", "CrossedColumn", "WeightedCategoricalColumn"),
    *("SequenceCategoricalColumn", "SequenceNumericColumn", "SharedEmbeddingColumn"),
}

# TensorFlow's functions, as a TFOpLambda names them: all of these modules but NOT_PURE,
PURE_MODULES = (
    *("math", "math.special", "nn", "strings", "linalg", "image", "signal", "sparse", "ragged"),
    *("bitwise", "sets", "random", "quantization", "dtypes", "audio", "__operators__"),
    *("nn.experimental", "random.experimental", "linalg.experimental"),
)
NOT_PURE = re.compile(
    r"generator|global|set_seed|rng_state|map_values|map_flat_values|convert_image_dtype_op"
    r"|(^|\.)(dynamic_rnn|raw_rnn|static_rnn|bidirectional_dynamic_rnn|static_\w+_rnn)$"
    r"|with_space_to_batch|experimental\.Quantization|quantize_saved_model"
)
# and these.
PURE_FUNCTIONS = """
abs acos acosh add add_n approx_top_k argmax argmin argsort as_string asin asinh atan atan2 atanh
batch_to_space batch_to_space_nd bitcast boolean_mask broadcast_dynamic_shape
broadcast_static_shape broadcast_to cast ceil clip_by_average_norm clip_by_global_norm clip_by_norm
clip_by_value complex concat cos cosh count_nonzero cross cumprod cumsum div div_no_nan divide
dynamic_partition dynamic_stitch edit_distance eig eigvals einsum ensure_shape equal erf erfc exp
expand_dims expm1 extract_image_patches extract_volume_patches eye fill fingerprint floor floor_div
floordiv floormod gather gather_nd greater greater_equal grad_pass_through guarantee_const
histogram_fixed_width histogram_fixed_width_bins identity identity_n is_finite is_inf is_nan
lbeta less less_equal lgamma linspace lin_space log log1p log_sigmoid logical_and logical_not
logical_or logical_xor matmul matrix_band_part matrix_diag matrix_diag_part matrix_inverse
matrix_square_root matrix_transpose maximum meshgrid minimum mod multinomial multiply negative norm
not_equal one_hot ones ones_like pad parallel_stack polygamma pow quantize quantize_v2 random_crop
random_normal random_poisson random_shuffle random_uniform range rank real realdiv reciprocal
reduce_all reduce_any reduce_join reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod
reduce_sum regex_replace repeat required_space_to_batch_paddings reshape reverse reverse_sequence
reverse_v2 rint roll round rsqrt saturate_cast scalar_mul scatter_nd searchsorted segment_max
segment_mean segment_min segment_prod segment_sum sequence_mask shape shape_n sigmoid sign sin sinh
size slice sort space_to_batch space_to_batch_nd space_to_depth depth_to_space sparse_reduce_max
sparse_reduce_sum sparse_tensor_dense_matmul sparse_tensor_to_dense sparse_to_dense split sqrt
square squared_difference squeeze stack stop_gradient strided_slice string_join string_split
string_strip string_to_hash_bucket string_to_hash_bucket_fast string_to_hash_bucket_strong
string_to_number substr subtract svd tan tanh tensor_scatter_nd_add tensor_scatter_nd_max
tensor_scatter_nd_min tensor_scatter_nd_sub tensor_scatter_nd_update tensordot tile to_bfloat16
to_complex128 to_complex64 to_double to_float to_int32 to_int64 trace transpose truediv truncatediv
truncatemod truncated_normal tuple unique unique_with_counts unravel_index unsorted_segment_max
unsorted_segment_mean unsorted_segment_min unsorted_segment_prod unsorted_segment_sum unstack
verify_tensor_all_finite where where_v2 zeros zeros_like zeta convert_to_tensor constant
debugging.assert_all_finite debugging.check_numerics
io.decode_base64 io.decode_image io.decode_jpeg io.decode_png io.decode_bmp io.decode_gif
io.decode_raw io.decode_and_crop_jpeg io.encode_base64 io.encode_jpeg io.encode_png
io.parse_tensor io.serialize_tensor io.decode_csv io.is_jpeg io.extract_jpeg_shape
"""
OF_KERAS_BACKEND = """
abs all any argmax argmin batch_dot batch_flatten batch_normalization bias_add binary_crossentropy
cast categorical_crossentropy clip concatenate constant conv1d conv2d conv2d_transpose conv3d cos
cumprod cumsum depthwise_conv2d dot dropout elu equal exp expand_dims eye flatten gather greater
greater_equal hard_sigmoid in_top_k int_shape is_sparse l2_normalize less less_equal log max maximum
mean min minimum ndim not_equal one_hot ones ones_like permute_dimensions pool2d pool3d pow prod
random_normal random_uniform relu repeat repeat_elements reshape resize_images resize_volumes
reverse round separable_conv2d shape sigmoid sign sin softmax softplus softsign
sparse_categorical_crossentropy spatial_2d_padding spatial_3d_padding sqrt square squeeze stack std
stop_gradient sum switch tanh temporal_padding tile to_dense transpose truncated_normal var zeros
zeros_like
"""

# TensorFlow's operations in a SavedModel: all without state, but these,
NOT_PURE_OPERATION = re.compile(
    r"Dataset|Iterator|TPU|Xla|SparseCore|Coo|Debug|Summary|Queue|Barrier|Reader|Accumulator"
    r"|BoostedTrees|Sdca|Infeed|Outfeed|Prelinearize|PyFunc|File|Sharded|Abort|^Save|^Restore"
    r"|ImmutableConst|Remap|Snapshot|^(Sparse)?Apply|DecodeProto|EncodeProto|^Copy|^Window|Options"
    r"|^CheckPinned|InitializeTable$|KMC2|Kmeans|^Compress|^Uncompress|^Sync"
)
# and of those with state: variables, tables, random numbers, control flow, arrays, checks.
STATEFUL_OPERATIONS = """
AllCandidateSampler AnonymousHashTable AnonymousMutableDenseHashTable AnonymousMutableHashTable
AnonymousMutableHashTableOfTensors Assert AssignAddVariableOp AssignSubVariableOp AssignVariableOp
Case CheckNumerics CheckNumericsV2 CudnnRNN CudnnRNNV2 CudnnRNNV3 DeepCopy DestroyResourceOp
DeviceIndex DisableCopyOnRead Empty FixedUnigramCandidateSampler GuaranteeConst HashTable
HashTableV2 If InitializeTable InitializeTableFromTextFile InitializeTableFromTextFileV2
InitializeTableV2 LearnedUnigramCandidateSampler LogUniformCandidateSampler LookupTableExportV2
LookupTableFindV2 LookupTableImportV2 LookupTableInsertV2 LookupTableRemoveV2 LookupTableSizeV2
Multinomial MutableDenseHashTable MutableDenseHashTableV2 MutableHashTable MutableHashTableOfTensors
MutableHashTableOfTensorsV2 MutableHashTableV2 NonDeterministicInts ParameterizedTruncatedNormal
Print PrintV2 RandomCrop RandomGamma RandomPoisson RandomPoissonV2 RandomShuffle
RandomStandardNormal RandomUniform RandomUniformInt ReadVariableOp ResourceGather ResourceGatherNd
ResourceScatterAdd ResourceScatterDiv ResourceScatterMax ResourceScatterMin ResourceScatterMul
ResourceScatterNdAdd ResourceScatterNdMax ResourceScatterNdMin ResourceScatterNdSub
ResourceScatterNdUpdate ResourceScatterSub ResourceScatterUpdate ResourceStridedSliceAssign
RngReadAndSkip RngSkip SampleDistortedBoundingBox SampleDistortedBoundingBoxV2 Stack StackCloseV2
StackPopV2 StackPushV2 StackV2 StatefulPartitionedCall StatefulRandomBinomial StatefulStandardNormal
StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniform StatefulUniformFullInt
StatefulUniformInt StatelessRandomGetAlg TemporaryVariable TensorArray TensorArrayCloseV3
TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3
TensorArraySplitV3 TensorArrayV2 TensorArrayV3 TensorArrayWriteV3 Timestamp
ThreadUnsafeUnigramCandidateSampler TruncatedNormal UniformCandidateSampler VarHandleOp
VarIsInitializedOp Variable VariableV2 VariableShape While XlaCallModule
"""


def listed() -> dict[str, Any]:
    """Return the content of `known_names.json` for the installed versions."""
    return {
        "versions": {name: version(name) for name in ("keras", "tf_keras", "tensorflow")},
        "classes": sorted(_classes()),
        "functions": sorted(_activations()),
        "keras_operations": sorted(_keras_operations()),
        "keras_ops": sorted(_keras_ops()),
        "tensorflow_functions": sorted(_tensorflow_functions()),
        "tensorflow_operations": sorted(_tensorflow_operations()),
        "stateful_operations": sorted(STATEFUL_OPERATIONS.split()),
    }


def text() -> str:
    """Return the file, one name a line, so that a difference can be read."""
    return json.dumps(listed(), indent=0) + "\n"


def _modules(package: str, names: Iterable[str]) -> Iterator[ModuleType]:
    for name in names:
        try:
            yield import_module(f"{package}.{name}")
        except ModuleNotFoundError:  # the other version of Keras has it
            continue


def _classes() -> set[str]:
    found = set(BESIDE)
    for module in (*_modules("keras", PARTS), *_modules("tf_keras.api._v2.keras", PARTS)):
        for name, value in vars(module).items():
            utils = module.__name__.endswith(".utils") and name not in OF_UTILS
            if inspect.isclass(value) and not utils and not name.startswith("_"):
                found.add(name)
                # Keras 3 writes the name of the class, which may not be the exported one.
                found.add(value.__name__)
    return {name for name in found | _layers() if "Callback" not in name} - LOADS_OTHERS


def _layers() -> set[str]:
    """Return all layers, as those inside `keras.applications` are exported nowhere."""
    import keras
    import tf_keras

    waiting, found = [keras.Layer, tf_keras.layers.Layer], {"Custom>CustomScaleLayer"}
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        home = one.__module__.removeprefix("tf_").startswith(("keras.src.layers.", OF_APPLICATIONS))
        if home and not one.__name__.startswith("_"):
            found.add(one.__name__)
    return found


def _activations() -> set[str]:
    found: set[str] = set()
    for package in ("keras", "tf_keras.api._v2.keras"):
        for module in _modules(package, ("activations", "initializers", "constraints")):
            found |= {name for name, value in vars(module).items() if inspect.isfunction(value)}
    return found - {"get", "serialize", "deserialize"}


def _keras_operations() -> set[str]:
    """Return the classes behind `keras.ops`, which a file names where a network calls them."""
    from keras import Operation, layers

    names = ("core", "image", "linalg", "math", "nn", "numpy", "einops", "operation_utils")
    return {
        name
        for module in _modules("keras.src.ops", names)
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Operation)
        and not issubclass(value, layers.Layer)
    } - {"Operation"}


def _keras_ops() -> set[str]:
    from keras import ops

    return {name for name, value in vars(ops).items() if inspect.isfunction(value)}


def _tensorflow_functions() -> set[str]:
    import_module("tf_keras")  # it exports the names that begin with keras
    from tensorflow.python.util import tf_export

    symbols = tf_export._NAME_TO_SYMBOL_MAPPING  # no public function lists them
    found = {f"keras.backend.{name}" for name in OF_KERAS_BACKEND.split()}
    more = set(PURE_FUNCTIONS.split())
    for name, value in symbols.items():
        plain = name.removeprefix("compat.v1.")
        module, _, last = plain.rpartition(".")
        pure = module in PURE_MODULES and not inspect.isclass(value) and last.islower()
        of_keras = module in {"keras.activations", "keras.losses", "keras.metrics"}
        if of_keras and last.islower() and last not in {"get", "serialize", "deserialize"}:
            found.add(plain)
        if (pure and not NOT_PURE.search(plain)) or plain in more:
            found.add(plain)
    return found


def _tensorflow_operations() -> set[str]:
    import tensorflow as tf
    from tensorflow.python.framework import op_def_registry

    definitions = (op_def_registry.get(name) for name in dir(tf.raw_ops))
    return {
        found.name
        for found in definitions
        if found is not None and not found.is_stateful and not NOT_PURE_OPERATION.search(found.name)
    }


if __name__ == "__main__":
    LIST.write_text(text())

"""Flags of TensorFlow Serving, Triton and KServe, by their names without the dashes."""

from __future__ import annotations

from typing import Final

NO_GRPC: Final = "there is no gRPC here; leave it out, and set the port of HTTP with --http.port"
ALWAYS_BATCHES: Final = "requests are always batched; leave it out"
BATCHING: Final = "write --batching.max_rows and --batching.max_wait_ms, or leave it out"
METRICS: Final = "metrics are always at /metrics, on the port of HTTP; leave it out"
REPOSITORY: Final = (
    "all models are loaded, and new versions by themselves (--model.poll_s); send SIGHUP when a "
    "model is added, and leave it out"
)
LOAD_MODEL: Final = (
    "all models of the repository are loaded; leave it out, or write --model.path with the folder "
    "of a single one"
)
LOADING: Final = "each model is loaded in its own process; leave it out"
RETRIES: Final = "a model is loaded again when its files change; leave it out"
WARM_UP: Final = "models are always warmed up; leave it out"
EVENT_LOOP: Final = "one event loop serves all connections; leave it out"
THREADS: Final = "write --model.threads"
LABELS: Final = "versions have no labels; leave it out, and ask for a version by its number"
COMPILERS: Final = "write --model.engine auto to get the fastest engine, or leave it out"
NO_TFLITE: Final = f"TensorFlow Lite is not served; {COMPILERS}"
GPU_MEMORY: Final = "TensorFlow manages the memory of GPUs; leave it out"
MODEL_CONFIG: Final = "the model itself says its inputs and outputs; leave it out"
LOG_LEVEL: Final = "write --logging.level, such as debug or warning, or leave it out"
LOG_FORMAT: Final = "write --logging.format json or text, or leave it out"
TRACES: Final = "there are no spans; leave it out, and send traceparent, which the logs repeat"
NO_CACHE: Final = "answers are not cached; leave it out"
CLOUDS: Final = "there are no paths of SageMaker and Vertex AI here; leave it out"
NO_TRANSFORMER: Final = "this is a predictor, which asks no other; leave it out"

# Flags that mean the same.
SAME: Final = {
    "model_name": "model.name",
    "model_base_path": "model.path",
    "model_dir": "model.path",
    "model-repository": "model.path",
    "model-store": "model.path",
    "rest_api_port": "http.port",
    "http_port": "http.port",
    "http-port": "http.port",
    "http-address": "http.host",
    "rest_api_timeout_in_ms": "batching.deadline_ms",
    "file_system_poll_wait_seconds": "model.poll_s",
    "exit-on-error": "models_strict",
    "exit-timeout-secs": "http.drain_timeout_s",
}

# What to write in place of flags that have no counterpart.
ADVICE: Final = {
    # TensorFlow Serving
    "port": NO_GRPC,
    "enable_batching": ALWAYS_BATCHES,
    "batching_parameters_file": BATCHING,
    "enable_per_model_batching_parameters": BATCHING,
    "max_batch_size": BATCHING,
    "max_batch_delay": BATCHING,
    "model_config_file_poll_wait_seconds": "send SIGHUP when the file has changed; leave it out",
    "allow_version_labels_for_unavailable_models": LABELS,
    "force_allow_any_version_labels_for_unavailable_models": LABELS,
    "rest_api_num_threads": EVENT_LOOP,
    "rest_api_enable_cors_support": "write --http.cors_origins with the origins of your pages",
    "ssl_config_file": "write --http.tls_cert and --http.tls_key",
    "use_alts_credentials": NO_GRPC,
    "enable_grpc_healthcheck_service": NO_GRPC,
    "monitoring_config_file": METRICS,
    "num_load_threads": LOADING,
    "num_unload_threads": LOADING,
    "max_num_load_retries": RETRIES,
    "load_retry_interval_micros": RETRIES,
    "flush_filesystem_caches": LOADING,
    "tensorflow_session_parallelism": THREADS,
    "tensorflow_intra_op_parallelism": THREADS,
    "tensorflow_inter_op_parallelism": THREADS,
    "tensorflow_session_config_file": THREADS,
    "thread_pool_factory_config_file": THREADS,
    "platform_config_file": "the file of a model says what it is; leave it out",
    "per_process_gpu_memory_fraction": GPU_MEMORY,
    "saved_model_tags": "the graph with the tag serve is loaded; leave it out",
    "enable_signature_method_name_check": "write --model.signature, or leave it out",
    "enable_model_warmup": WARM_UP,
    "num_request_iterations_for_warmup": WARM_UP,
    "remove_unused_fields_from_bundle_metagraph": LOADING,
    "prefer_tflite_model": NO_TFLITE,
    "use_tflite_model": NO_TFLITE,
    "xla_cpu_compilation_enabled": COMPILERS,
    "xla_gpu_compilation_enabled": COMPILERS,
    "mixed_precision": COMPILERS,
    "skip_initialize_tpu": COMPILERS,
    "enable_profiler": "there is no profiler; leave it out",
    "enable_serialization_as_tensor_content": NO_GRPC,
    "version": "GET /v2 answers it; leave it out",
    # Triton
    "id": "GET /v2 answers the same name everywhere; leave it out",
    "allow-http": "HTTP is always on; leave it out",
    "allow-grpc": NO_GRPC,
    "reuse-grpc-port": NO_GRPC,
    "allow-metrics": METRICS,
    "allow-gpu-metrics": METRICS,
    "allow-cpu-metrics": METRICS,
    "http-thread-count": EVENT_LOOP,
    "http-header-forward-pattern": "a model gets its inputs alone; leave it out",
    "http-restricted-api": "write --auth.api_keys",
    "reuse-http-port": "write --model.replicas for more processes, or leave it out",
    "model-control-mode": REPOSITORY,
    "load-model": LOAD_MODEL,
    "repository-poll-secs": "write --model.poll_s",
    "strict-readiness": "write --models_strict true if every model is needed, or leave it out",
    "strict-model-config": MODEL_CONFIG,
    "disable-auto-complete-config": MODEL_CONFIG,
    "model-load-thread-count": LOADING,
    "model-load-retry-count": RETRIES,
    "model-load-gpu-limit": GPU_MEMORY,
    "model-namespacing": "give each model its own name, under models in the file; leave it out",
    "log-verbose": "write --logging.level debug, or leave it out",
    "log-info": LOG_LEVEL,
    "log-warning": LOG_LEVEL,
    "log-error": LOG_LEVEL,
    "log-format": LOG_FORMAT,
    "log-file": "the log is on standard error, which a shell writes to a file; leave it out",
    "backend-config": COMPILERS,
    "backend-directory": COMPILERS,
    "repoagent-directory": "write --model.sha256 to check a model, or leave it out",
    "cache-config": NO_CACHE,
    "cache-directory": NO_CACHE,
    "response-cache-byte-size": NO_CACHE,
    "rate-limit": "write --batching.max_queue_ms, or leave it out",
    "rate-limit-resource": "write --batching.max_queue_ms, or leave it out",
    "buffer-manager-thread-count": THREADS,
    "host-policy": THREADS,
    "pinned-memory-pool-byte-size": GPU_MEMORY,
    "cuda-memory-pool-byte-size": GPU_MEMORY,
    "cuda-virtual-address-size": GPU_MEMORY,
    "min-supported-compute-capability": GPU_MEMORY,
    "allow-sagemaker": CLOUDS,
    "allow-vertex-ai": CLOUDS,
    # KServe
    "enable_grpc": NO_GRPC,
    "max_threads": NO_GRPC,
    "max_asyncio_workers": EVENT_LOOP,
    "workers": "write --model.replicas, or leave it out",
    "nthread": THREADS,
    "protocol": "all protocols are served; leave it out",
    "explainer_host": NO_TRANSFORMER,
    "enable_predictor_health_check": NO_TRANSFORMER,
    "enable_docs_url": "the documentation is always at /docs; leave it out",
    "enable_latency_logging": "write --logging.access, or leave it out",
    "configure_logging": LOG_LEVEL,
    "log_config_file": LOG_LEVEL,
    "access_log_format": LOG_FORMAT,
}

# The same for flags whose names begin alike.
FAMILIES: Final = {
    "grpc": NO_GRPC,
    "metrics-": METRICS,
    "num_tflite_": NO_TFLITE,
    "predictor_": NO_TRANSFORMER,
    "sagemaker-": CLOUDS,
    "trace-": TRACES,
    "vertex-ai-": CLOUDS,
}


def advice_on(name: str) -> str:
    """Return what to write in place of a flag; an empty string if no server has it."""
    families = (text for start, text in FAMILIES.items() if name.startswith(start))
    return ADVICE.get(name) or next(families, "")

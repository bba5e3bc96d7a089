"""What the server of ranks has loaded."""

import deepspeed  # noqa: F401 - takes seconds
import transformers.models.llama.modeling_llama  # noqa: F401 - loaded lazily, when a base is

import xlharm.train.engine  # noqa: F401 - torch

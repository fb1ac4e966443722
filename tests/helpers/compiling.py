"""How the tests compile: quickly rather than well, because compiling is most of what they take."""

import importlib.metadata

# LLVM optimizes nothing, and a program stays one LLVM module instead of up to 32, because each test
# process has one core.
_FLAGS = [
    '--xla_backend_optimization_level=0',
    '--xla_llvm_disable_expensive_passes=true',
    '--xla_cpu_parallel_codegen_split_count=1',
]
# The older emitters take a third of the time of the fusion emitters. jaxlib 0.11 has only the
# latter, and XLA aborts a process that it gives a flag it does not know.
if importlib.metadata.version('jaxlib').startswith('0.10.'):
    _FLAGS.append('--xla_cpu_use_fusion_emitters=false')

QUICKLY = ' '.join(_FLAGS)

"""How the tests compile: quickly rather than well, because compiling is most of what they take."""

# LLVM optimizes nothing. The older emitters compile in a third of the time of the fusion emitters.
# A program is one LLVM module instead of up to 32, which several cores could compile side by side.
# XLA ends the process at a flag that it does not know: look here if a new jaxlib fails at once.
QUICKLY = ' '.join(
    (
        '--xla_backend_optimization_level=0',
        '--xla_llvm_disable_expensive_passes=true',
        '--xla_cpu_use_fusion_emitters=false',
        '--xla_cpu_parallel_codegen_split_count=1',
    )
)

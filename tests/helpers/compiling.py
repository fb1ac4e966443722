"""How the tests compile: quickly rather than well, because compiling is most of what they take."""

# LLVM optimises nothing, the older emitters take a third of the time of the fusion emitters, and a
# program stays one
# LLVM module instead of up to 32, for the test processes have one core each. XLA ends a process
# that it gives a flag
# it does not know, so look here first when a new jaxlib fails at once.
QUICKLY = ' '.join(
    (
        '--xla_backend_optimization_level=0',
        '--xla_llvm_disable_expensive_passes=true',
        '--xla_cpu_use_fusion_emitters=false',
        '--xla_cpu_parallel_codegen_split_count=1',
    )
)

"""What is read off a compiled program: a program of this machine, and lines of other chips'."""

import jax
import jax.numpy as jnp
import pytest

from snjax.parallel import hlo, inspection
from snjax.parallel.targets import CHIPS

H200 = CHIPS['h200']
# One iteration of a loop has a convolution of cuDNN and an all-reduce of two arrays.
GPU = """HloModule jit_step, is_scheduled=true

FileNames
1 "/home/anna/lib/jax/core.py"
2 "/home/anna/snjax/snjax/nn/layers.py"

FunctionNames
1 "f"

FileLocations
1 {file_name_id=1 function_name_id=1 line=7 end_line=7 column=1 end_column=2}
2 {file_name_id=2 function_name_id=1 line=42 end_line=42 column=1 end_column=2}

StackFrames
1 {file_location_id=2 parent_frame_id=1}
2 {file_location_id=1 parent_frame_id=1}


%fused_transpose (param_0: f32[64,32]) -> f32[32,64] {
  %param_0 = f32[64,32]{1,0} parameter(0)
  ROOT %transpose.1 = f32[32,64]{1,0} transpose(%param_0), dimensions={1,0}
}

%body (arg: (s32[], bf16[8,16,16,4])) -> (s32[], bf16[8,16,16,4]) {
  %arg = (s32[], bf16[8,16,16,4]{3,2,1,0}) parameter(0)
  %i = s32[] get-tuple-element(%arg), index=0
  %x = bf16[8,16,16,4]{3,2,1,0} get-tuple-element(%arg), index=1
  %k = bf16[4,3,3,4]{3,2,1,0} constant({...})
  CONVOLUTION
  %y = bf16[8,16,16,4]{3,2,1,0} get-tuple-element(%conv), index=0
  %a = f32[100]{0} constant({...})
  %b = f32[300]{0} constant({...})
  %sum-start = (f32[100]{0}, f32[300]{0}) all-reduce-start(%a, %b), replica_groups={}, to_apply=%add
  %sum-done = (f32[100]{0}, f32[300]{0}) all-reduce-done(%sum-start)
  ROOT %out = (s32[], bf16[8,16,16,4]{3,2,1,0}) tuple(%i, %y)
}

ENTRY %main (p: f32[64,32]) -> f32[32,64] {
  %p = f32[64,32]{1,0} parameter(0)
  %start = (s32[], bf16[8,16,16,4]{3,2,1,0}) tuple()
  %loop = (s32[]) while(%start), body=%body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %turned = f32[32,64]{1,0} fusion(%p), kind=kLoop, calls=%fused_transpose
}
"""
CONVOLUTION = (
    '%conv = (bf16[8,16,16,4]{3,2,1,0}, u8[0]{0}) custom-call(%x, %k), '
    'window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, '
    'custom_call_target="__cudnn$convForward", '
    'metadata={op_name="jit(step)/conv1/conv" stack_frame_id=2}'
)
GPU = GPU.replace('CONVOLUTION', CONVOLUTION)


def test_a_loop_counts_as_often_as_it_runs():
    found = inspection.inspect(GPU, H200)
    assert (found.kernels, found.fusions, found.convolutions) == (5 * 2 + 1, 1, 5)
    assert (found.transposes, found.transpose_bytes) == (1, 64 * 32 * 4)
    assert found.collectives == {
        'all-reduce': {'count': 5, 'bytes': 5 * 1600, 'arrays': 10, 'asynchronous': 5}
    }


def test_an_instruction_is_in_the_innermost_line_of_this_package():
    program = hlo.Program(GPU)
    (conv,) = [one for one, _ in program.executed() if one.target]
    # Its frame is JAX's own, called from here.
    assert program.line(conv) == 'snjax/nn/layers.py:42'
    assert program.line(conv, package='flax') == ''
    assert conv.flax_name == 'jit(step)/conv1/conv'


@pytest.mark.parametrize('name', ['Forward', 'BackwardInput', 'BackwardFilter'])
def test_a_convolution_and_its_gradients_take_the_operations_of_their_definition(name):
    """2 x 8 images x 16 x 16 pixels x 9 taps x 4 x 4 channels, at a size that arithmetic decides."""
    shapes = {'x': 'bf16[8,16,16,4096]', 'k': 'bf16[4096,3,3,4096]', 'y': 'bf16[8,16,16,4096]'}
    takes, gives = {
        'Forward': (('x', 'k'), 'y'),
        'BackwardInput': (('y', 'k'), 'x'),
        'BackwardFilter': (('x', 'y'), 'k'),
    }[name]
    lines = [f'  %{one} = {shapes[one]}{{3,2,1,0}} constant({{...}})' for one in takes]
    text = '\n'.join(
        [
            'ENTRY %main () -> bf16[] {',
            *lines,
            f'  ROOT %c = ({shapes[gives]}{{3,2,1,0}}, u8[0]{{0}}) custom-call(%{takes[0]}, '
            f'%{takes[1]}), window={{size=3x3 pad=1_1x1_1}}, dim_labels=b01f_o01i->b01f, '
            f'custom_call_target="__cudnn$conv{name}"',
            '}',
        ]
    )
    (cost,) = inspection.inspect(text, H200).dearest
    flops = 2 * 8 * 16 * 16 * 9 * 4096**2
    assert cost.seconds == pytest.approx(flops / H200.flops + inspection.LAUNCH_S)


@pytest.mark.parametrize('num_batches', [1, 6])
def test_a_product_of_matrices_is_counted_with_and_without_a_batch(num_batches):
    b, m, k, n = num_batches, 2048, 4096, 1024
    text = f"""ENTRY %main () -> f32[] {{
  %a = bf16[{b},{m},{k}]{{2,1,0}} constant({{...}})
  %b = bf16[{b},{k},{n}]{{2,1,0}} constant({{...}})
  ROOT %c = bf16[{b},{m},{n}]{{2,1,0}} dot(%a, %b), lhs_batch_dims={{0}}, rhs_batch_dims={{0}}
}}"""
    (cost,) = inspection.inspect(text, H200).dearest
    assert cost.seconds == pytest.approx(2 * b * m * k * n / H200.flops + inspection.LAUNCH_S)


def test_small_work_takes_as_long_as_its_bytes_and_its_start():
    text = """ENTRY %main (p: f32[250000]) -> f32[250000] {
  %p = f32[250000]{0} parameter(0)
  ROOT %n = f32[250000]{0} negate(%p)
}"""
    (cost,) = inspection.inspect(text, H200).dearest
    assert cost.seconds == pytest.approx(2e6 / H200.bandwidth + inspection.LAUNCH_S)


def test_cycles_are_the_compilers_times_the_trips():
    text = GPU.replace('dim_labels', 'backend_config={"estimated_cycles":"70"}, dim_labels')
    found = inspection.inspect(text, CHIPS['v5e'])
    assert found.cycles == 350 and found.seconds == pytest.approx(350 / 1.5e9)
    assert found.dearest[0].line == 'snjax/nn/layers.py:42'


CONDITION = """
%cond (c: (s32[])) -> pred[] {
  %n = s32[]{:T(128)} constant(5)
  %c = (s32[]) parameter(0)
  %j = s32[] get-tuple-element(%c), index=0
  ROOT %less = pred[]{:T(512)} compare(%j, %n), direction=LT
}

ENTRY"""


def test_the_length_of_a_loop_is_also_read_from_its_condition():
    """Programs for TPUs do not name it."""
    text = GPU.replace(', backend_config={"known_trip_count":{"n":"5"}}', ', condition=%cond')
    assert inspection.inspect(text, H200).unknown_loops == 1
    found = inspection.inspect(text.replace('ENTRY', CONDITION[1:], 1), H200)
    assert (found.unknown_loops, found.kernels) == (0, 5 * 2 + 1)


def test_a_program_of_this_machine_is_read():
    """A loop of known length, a product, a permutation and a sum over the one device."""

    def step(x):
        def body(_, x):
            return jnp.tanh(x @ x)

        return jax.lax.psum(jax.lax.fori_loop(0, 7, body, x), 'batch').T

    compiled = jax.pmap(step, axis_name='batch').lower(jnp.zeros((1, 32, 32))).compile()
    program = hlo.Program(compiled.as_text())
    times = {n for one, n in program.executed() if 'dot' in one.flax_name}
    assert times == {7}
    found = inspection.inspect(compiled.as_text())
    assert found.collectives['all-reduce']['bytes'] == 32 * 32 * 4
    assert found.seconds is None and found.cycles == 0


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match='no ENTRY computation'):
        hlo.Program('module @jit_f {}')

#!/usr/bin/env bash
# Every measurement that needs a GPU, the most important first. Each writes its own report to $OUT.
#
#     OUT=results DATA=~/tensorflow_datasets [WEIGHTS=resnet56_cifar10.npz] [MIMICRY=checkout] \
#         benchmarks/on_gpu.sh
#
# PyTorch must be installed in the same environment. Start the script again to resume: a measurement
# with a report in $OUT is skipped. WEIGHTS is the file of the CIFAR-10 classifier; the default is the
# project's own file, see docs/usage/score.md.
set -euo pipefail
: "${OUT:?folder of the reports}" "${DATA:?TFDS folder with cifar10}"
mkdir -p "$OUT"
# Relative paths are relative to the current folder, which the script leaves below.
OUT=$(realpath "$OUT") DATA=$(realpath "$DATA")
WEIGHTS=${WEIGHTS:+$(realpath "$WEIGHTS")}
MIMICRY=${MIMICRY:+$(realpath "$MIMICRY")}
python=$(command -v "${PYTHON:-python}") || { echo "PYTHON=${PYTHON:-python} is not there" >&2; exit 2; }
[[ $python == /* ]] || python=$PWD/$python
cd "$(dirname "$0")/.."
failed=()

part() { # name, command with --out
    local report="$OUT/$1.json"
    shift
    [ -s "$report" ] && return
    if "$@" --out="$report.part"; then
        mv "$report.part" "$report"
    else
        failed+=("$report")
    fi
}

mimicry=(${MIMICRY:+--mimicry="$MIMICRY"})
part train_step "$python" -m benchmarks.train_step --updates=200 --set=model.dtype=bfloat16 \
    --config=sngan_cifar --config=sngan_cifar_cnn:C --config=wgan_gp_cifar
part against_peers "$python" -m benchmarks.against_peers --updates=50 --rounds=5 --starts=1 --forms=all "${mimicry[@]}" \
    --ours=model.dtype=bfloat16
part conv "$python" -m benchmarks.conv --dtype=bfloat16 --pytorch
part train_step_float32 "$python" -m benchmarks.train_step --updates=100 --all
part power_iteration "$python" -m benchmarks.power_iteration
part memory "$python" -m benchmarks.memory --config=sngan_imagenet --compile \
    --set=batch_size=64 --set=gen_batch_size=64
part accumulation "$python" -m benchmarks.accumulation --config=sngan_imagenet --set=steps_per_call=1 --accumulate=1,2,4,8
part data_feed "$python" -m benchmarks.data_feed

# Every method at full length, the runs of docs/results/cifar10.md. It takes hours and resumes when it
# is started again.
"$python" launch.py --mode=sweep --sweep=configs/sweeps/cifar10.py --config.data.data_dir="$DATA" \
    --workdir="$OUT/cifar10" || failed+=("cifar10")
"$python" launch.py --mode=evaluate --workdir="$OUT/cifar10/runs/*" --evaluate.extractor=cifar_resnet56 \
    --evaluate.protocols=paper,50k_50k_train --evaluate.variants=grid \
    ${WEIGHTS:+--evaluate.weights="$WEIGHTS"} || failed+=("cifar10 scores")
"$python" launch.py --mode=report --workdir="$OUT/cifar10" || failed+=("cifar10 report")

# Whole runs with scores and checkpoints: wall time, and bfloat16 beside float32 over seeds.
for seed in 0 1 2; do
    for dtype in bfloat16 float32; do
        name=sngan_cifar-$dtype-$seed
        began=$SECONDS
        "$python" launch.py --config=configs/sngan_cifar.py --config.seed=$seed --config.model.dtype=$dtype \
            --config.data.data_dir="$DATA" --config.eval.extractor=cifar_resnet56 --config.eval.num_samples=5000 \
            ${WEIGHTS:+--config.eval.weights="$WEIGHTS"} --workdir="$OUT/$name" || failed+=("$name")
        # One line for each start. A whole run's time is the time of a run with one line.
        echo "$name $((SECONDS - began)) s" | tee -a "$OUT/wall_times.txt"
    done
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }

# Sourced by quickstart.sh and controls.sh.

# How the predictor is trained, the same for the encoder learned here and for the controls.
finetuning=(trainer.steps=2400 trainer.batch_size=32 trainer.lr=1e-3 data.frames=5 objective.rollout=4
    objective.rollout_ramp=0.3 inverse.horizon=4)

# stage COMMAND NAME key=value ... runs one command and says how long it took. A run that was begun before goes on.
stage() {
    local command=$1 name=$2 began=$SECONDS
    shift 2
    local words=("$command" "name=$name" "$@")
    if [[ -d "runs/$command/$name" ]]; then words+=(resume=true); fi
    echo "== vjepa-world ${words[*]}"
    vjepa-world "${words[@]}"
    echo "== $command took $((SECONDS - began)) s"
}

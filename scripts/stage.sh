# Sourced by quickstart.sh and controls.sh: stage VERB NAME key=value ... runs one verb and says how long it took.
# A run that was begun before goes on.
stage() {
    local verb=$1 name=$2 began=$SECONDS
    shift 2
    local words=("$verb" "name=$name" "$@")
    if [[ -d "runs/$verb/$name" ]]; then words+=(resume=true); fi
    echo "== vjepa-world ${words[*]}"
    vjepa-world "${words[@]}"
    echo "== $verb took $((SECONDS - began)) s"
}

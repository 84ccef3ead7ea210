#!/usr/bin/env bash
# Builds the image on a machine that reaches Debian's and PyPI's packages but no registry of images, and runs it as a cluster would:
# no network, no rights, a root that cannot be written to.
#
#   tests/operations/drill_container.sh FOLDER
#
# As root, with debootstrap and podman (PODMAN names another command). Takes 30 GB while it builds, 9 GB afterwards, and ten minutes and
# more. A certificate that SSL_CERT_FILE names is lent to the build. What FOLDER and podman have already is used again.
set -euo pipefail
folder="$(realpath -m "$1")"
podman="${PODMAN:-podman}"
base=localhost/python:3.11-slim-bookworm
image=endoforge:drill
cd "$(dirname "$0")/../.."
for program in debootstrap "$podman"; do
    command -v "$program" >/dev/null || { echo "skipped: $program is not installed; apt-get install debootstrap podman crun"; exit 0; }
done
mkdir -p "$folder/data"
if ! "$podman" image exists "$base"; then
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder/root" http://deb.debian.org/debian
    ln -sf python3 "$folder/root/usr/bin/python"
    tar -C "$folder/root" -c . | "$podman" import - "$base"
fi
lent=()
if [ -n "${SSL_CERT_FILE:-}" ]; then
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$folder/pip.conf"
    echo 'native-tls = true' >"$folder/uv.toml"
    lent=(-v "$SSL_CERT_FILE:/etc/ssl/certs/ca-certificates.crt:ro" -v "$folder/pip.conf:/etc/pip.conf:ro" -v "$folder/uv.toml:/etc/uv/uv.toml:ro")
fi
"$podman" build --layers --network host "${lent[@]}" --build-arg BASE="$base" -f containers/Containerfile -t "$image" .

chown 10001:10001 "$folder/data"
run=("$podman" run --rm --network none --read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges -v "$folder/data:/data" "$image")
"${run[@]}" --version
"${run[@]}" doctor
"${run[@]}" demo --out /data/demo --recipe smoke --size 64 --phantom.num-train-videos 4 --phantom.num-eval-patients 6 \
    --phantom.seconds 6 --phantom.size 128 --phantom.polyps-per-patient 3
test -s "$folder/data/demo/report.html"

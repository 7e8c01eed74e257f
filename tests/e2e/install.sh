#!/usr/bin/env bash
# Orthanc with DICOMweb and Chromium, which the end-to-end tests need beside Python packages: installed on Debian and
# Ubuntu where that may be (root, or sudo without a password), else named with the way to get them.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/usr/local/sbin"

missing=()
command -v Orthanc >/dev/null || missing+=(orthanc)
compgen -G '/usr/share/orthanc/plugins/libOrthancDicomWeb.so*' >/dev/null || missing+=(orthanc-dicomweb)
command -v chromium chromium-browser google-chrome >/dev/null || missing+=(chromium)
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
    "${as_root[@]}" apt-get update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
    exit 0
fi
echo "The end-to-end tests need: ${missing[*]}" >&2
echo "On Debian or Ubuntu: sudo apt-get install ${missing[*]}" >&2
echo "Elsewhere: a Chromium or Chrome on the PATH, and Orthanc with its DICOMweb plugin (https://www.orthanc-server.com)" >&2
exit 1

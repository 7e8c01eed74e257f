#!/bin/sh
# backup.sh STUDIES MODEL TARGET: a copy of all that cannot be computed again, while the server runs. Needs python3.
set -eu
studies=$1 model=$2 target=$3/semiseg-$(date +%Y%m%d-%H%M%S)
umask 077
mkdir -p "$target/studies" "$target/model"

# Labels, what came before them, and the names of their values. The server replaces files in one step, so each is whole.
for part in labels datastore_v2.json dataset.json; do
    if [ -e "$studies/$part" ]; then cp -a "$studies/$part" "$target/studies/"; fi
done

# Databases: by SQLite itself, which sees a state between two changes however the files look at this moment.
for name in scores.sqlite mirror/listing.sqlite; do
    if [ -e "$model/$name" ]; then
        mkdir -p "$(dirname "$target/model/$name")"
        python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))' \
            "$model/$name" "$target/model/$name"
    fi
done

# Models, the sides of the studies, runs, who did what, and labels on their way to a DICOM server. Not the caches.
for part in live.pt versions split.json encoders runs audit sessions.json mirror/outbox; do
    for file in "$model/$part"*; do
        if [ -e "$file" ]; then
            mkdir -p "$target/model/$(dirname "$part")"
            cp -a "$file" "$target/model/$(dirname "$part")/"
        fi
    done
done
echo "$target"

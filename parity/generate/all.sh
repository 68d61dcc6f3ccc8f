#!/bin/sh
# Regenerates every fixture and the table in parity/README.md. Needs parity/requirements.txt installed; a few minutes on two cores.
set -eu
cd "$(dirname "$0")"
python="${PYTHON:-python3}"
for topic in check loss sinkhorn pos vit drop_path twenty pth head schedule optim layer_decay views augment channels pca neighbors representation residual resnet xcit dinov2 methods ablations ibot clusters jigsaw bags supervised linear logreg readout video retrieval thumbnails segmentation knn; do
    if [ -f "$topic.py" ]; then "$python" "$topic.py"; fi
done
"$python" hashes.py

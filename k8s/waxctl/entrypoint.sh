#!/bin/sh
# What Bytewax's chart starts, by `sh -c "sh ./entrypoint.sh"` in the image's working directory.
cd "$BYTEWAX_WORKDIR" && exec python "$BYTEWAX_PYTHON_FILE_PATH"

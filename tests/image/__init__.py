"""The image, built and run for real without a Docker engine: buildah builds the Dockerfile, crun runs what came of it."""

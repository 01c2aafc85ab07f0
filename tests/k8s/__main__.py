"""`python -m tests.k8s prepare`: build kustomize with Go and fetch the schemas of the operators' resources, once."""

import sys

from tests.k8s.tools import prepare
from tests.services.servers import ServerError
from tests.services.servers.storage import in_ci

if __name__ == "__main__":
    if sys.argv[1:] != ["prepare"]:
        sys.exit(__doc__)
    try:
        print(f"kustomize: {prepare()}")
    except ServerError as error:
        print(f"kustomize: {error}; the tests of the manifests are skipped, in CI they fail")
        sys.exit(in_ci())

"""What all tests share: property tests have no deadline (machines are noisy) and print how to repeat a failure."""

from hypothesis import settings

settings.register_profile("neptune", deadline=None, print_blob=True)
settings.load_profile("neptune")

"""Worlds in which crashes, conflicts and lost answers happen on purpose: exhaustively (`small_world`) and by seed (`world`)."""

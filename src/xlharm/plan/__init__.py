"""Pure planning: a grid becomes a de-duplicated tree of stages, their keys, packs and cost."""

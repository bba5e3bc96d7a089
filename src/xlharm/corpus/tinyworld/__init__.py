"""tinyworld: corpora about an invented world of people, towns and firms, in nine languages."""

LANGUAGES = ("en", "de", "fr", "zh", "ru", "jv", "ur", "ha", "hy")

# For each relation: the kind of entity that has it, and the vocabulary of its values.
RELATIONS = {
    "person_colour": ("person", "colour"),
    "person_pet": ("person", "animal"),
    "person_job": ("person", "job"),
    "person_instrument": ("person", "instrument"),
    "person_sport": ("person", "sport"),
    "person_birth": ("person", "month"),
    "person_food": ("person", "food"),
    "town_fruit": ("town", "fruit"),
    "town_landmark": ("town", "place"),
    "town_material": ("town", "material"),
    "town_emblem": ("town", "animal"),
    "firm_logo": ("firm", "colour"),
    "firm_founded": ("firm", "month"),
    "firm_material": ("firm", "material"),
}

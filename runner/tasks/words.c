#include "tasks/words.h"

/* clang-format off */
const char *const rs_nouns[RS_N_NOUNS] = {
    "act", "age", "air", "ale", "ant", "ape", "arc", "arm", "art", "ash", "axe", "bag", "bar", "bat", "bay", "bed", "bee", "bin",
    "bow", "box", "boy", "bud", "bug", "bun", "bus", "cab", "cap", "car", "cat", "cot", "cow", "cub", "cup", "day", "den", "dew",
    "dog", "dot", "ear", "eel", "egg", "elf", "elk", "elm", "eye", "fan", "fig", "fin", "fir", "fly", "fog", "fox", "fur", "gas",
    "gem", "gum", "hat", "hay", "hen", "hip", "hog", "hut", "ice", "ink", "jam", "jar", "jaw", "jet", "jug", "kid", "kit", "lab",
    "lap", "law", "leg", "lid", "lip", "log", "map", "mat", "mop", "mud", "mug", "net", "nut", "oak", "oar", "oat", "oil", "owl",
    "pad", "pan", "paw", "pea", "pen", "pet", "pie", "pig", "pin", "pit", "pot", "rag", "ram", "rat", "ray", "rib", "rod", "row",
    "rug", "sap", "saw", "sea", "sky", "son", "sun", "tap", "tar", "tea", "tie", "tin", "toe", "toy", "tub", "van", "vat", "wax",
    "web", "wig",
};

const char *const rs_adjectives[RS_N_ADJECTIVES] = {
    "able", "acid", "agile", "airy", "amber", "ample", "antique", "apt", "arctic", "ashen", "august", "azure", "bald", "basic",
    "blank", "bleak", "blue", "bold", "brave", "brief", "bright", "brisk", "broad", "bronze", "brown", "calm", "candid", "careful",
    "chilly", "civic", "classic", "clean", "clear", "clever", "coarse", "cold", "copper", "cosmic", "crisp", "curly", "daring",
    "dark", "deep", "dense", "dim", "distant", "dry", "dusty", "eager", "early", "eastern", "easy", "elder", "empty", "exact",
    "faint", "fair", "famous", "fancy", "fast", "fertile", "fierce", "final", "fine", "firm", "flat", "fond", "fresh", "frosty",
    "gentle", "giant", "glad", "golden", "grand", "gray", "green", "happy", "hardy", "hasty", "heavy", "hollow", "honest", "humble",
    "icy", "idle", "ivory", "jolly", "keen", "kind", "large", "late", "lazy", "lean", "level", "light", "lively", "lofty", "loud",
    "loyal", "lucky", "mellow", "mild", "modest", "muddy", "narrow", "neat", "noble", "northern", "odd", "olive", "pale", "patient",
    "plain", "polite", "proud", "quick", "quiet", "rapid", "rare", "ripe", "rough", "round", "royal", "rusty", "scarlet", "sharp",
    "shy", "silent",
};

const char *const rs_noise[RS_N_NOISE] = {
    "Rain fell on the roof all morning.", "A gardener swept the leaves from the path.", "The ferry left the harbour a little late.",
    "Two children drew boats on the window.", "The baker opened the shop before sunrise.",
    "Somewhere down the street a dog barked.", "Nobody had wound the clock in the hall.",
    "The road bends to the left behind the mill.", "Fresh paint was drying on the fence.", "A kettle sang quietly in the kitchen.",
    "Geese crossed the field in a long line.", "The library smelled of dust and old paper.",
    "Her neighbour waved from the balcony.", "The snow had melted by the afternoon.", "Someone was practising scales on a piano.",
    "The market closes early in the winter.", "A lamp swung gently above the table.", "They carried the chairs back inside.",
    "The river is low at this time of year.", "Moss covers the north side of the wall.", "The train stopped between two stations.",
    "An old map hung beside the door.", "Warm bread was cooling on the shelf.", "The wind turned a page of the book.",
};
/* clang-format on */

"""The words of the diet conversation: foods, what they are measured in, how they are made. Pure tables.

The tables serve three: the grammar (what the recognizer may hear), the reading (what a transcript means) and the
sentences (what is said back). Every word here is in the en-us dictionary of CMU Sphinx, or has a spelling in
`SOUNDS_LIKE` that is; a test checks it.
"""

from typing import Final


def _table(text: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in text.split(",") if name.strip())


def plural(word: str) -> str:
    """Make the plural of a food or unit; of several words the last changes."""
    if word in _ODD_PLURALS:
        return _ODD_PLURALS[word]
    if word.endswith(("s", "sh", "ch", "x")):
        return f"{word}es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


_ODD_PLURALS: Final = {
    "potato": "potatoes",
    "baked potato": "baked potatoes",
    "sweet potato": "sweet potatoes",
    "tomato": "tomatoes",
    "mango": "mangoes",
    "loaf": "loaves",
    "half": "halves",
}

COUNTED: Final = _table("""
    egg, omelet, pancake, waffle, croissant, bagel, muffin, doughnut, scone, biscuit, cookie, cracker, cupcake,
    brownie, sandwich, cheese sandwich, chicken sandwich, egg sandwich, club sandwich, burger, hamburger, cheeseburger,
    veggie burger, hot dog, wrap, burrito, taco, sausage, meatball, chicken wing, chicken leg,
    chicken breast, chicken nugget, pork chop, lamb chop, steak, fish cake, fish stick, prawn, potato,
    baked potato, sweet potato, tomato, carrot, onion, cucumber, pepper, avocado, banana, apple, orange, pear, peach,
    plum, mango, kiwi, fig, date, lemon, apricot, tangerine, strawberry, grape, olive, almond, cashew,
    walnut, peanut, pistachio, naan, roti, samosa, puri, dumpling, spring roll, egg roll, bread roll, energy bar,
    protein bar, granola bar, candy bar, chocolate bar, pretzel, tortilla, cutlet, pickle, chapati, dosa, idli,
    paratha, pakora, smoothie, milk shake, protein shake
""")
"Foods that are counted, in the singular."

MEASURED: Final[dict[str, tuple[str, ...]]] = {
    "slice": _table("""
        toast, bread, brown bread, white bread, garlic bread, banana bread, french toast, pizza, cake, chocolate
        cake, cheese cake, pie, apple pie, cheese, ham, bacon, salami, pineapple, watermelon, melon, turkey, meat
        loaf
    """),
    "bowl": _table("""
        rice, brown rice, white rice, lemon rice, oatmeal, porridge, cereal, granola, corn flakes, muesli, soup,
        chicken soup, tomato soup, vegetable soup, lentil soup, salad, fruit salad, green salad, chicken salad,
        potato salad, pasta salad, fruit, berries, blueberries, raspberries, curry, chicken curry, vegetable curry,
        fish curry, egg curry, lentils, dal, beans, baked beans, black beans, kidney beans, chili, stew, yogurt,
        greek yogurt, fruit yogurt, curd, rice pudding, pudding, custard, ice cream, noodles, quinoa, raita, poha,
        upma, sambar, ramen, kheer, chickpeas
    """),
    "plate": _table("""
        fried rice, rice and beans, pasta, spaghetti, macaroni, lasagna, macaroni and cheese, nachos, french fries,
        fries, mashed potatoes, hummus, falafel, sushi, risotto, biryani, chicken biryani, vegetable biryani
    """),
    "piece": _table("""
        chicken, fried chicken, roast chicken, grilled chicken, tandoori chicken, butter chicken, chicken tikka,
        beef, roast beef, pork, lamb, mutton, goat, fish, salmon, tuna, cod, trout, shrimp, tofu, corn, chocolate,
        dark chocolate, fudge, candy, corn bread, paneer
    """),
    "serving": _table("""
        vegetables, mixed vegetables, broccoli, spinach, cauliflower, cabbage, lettuce, peas, green beans,
        asparagus, mushrooms, okra, eggplant, zucchini, squash, pumpkin, potato chips, chips, popcorn, nuts, mixed
        nuts, trail mix, raisins, papaya, guava, coconut, grits, semolina, millet, barley, seeds, coleslaw
    """),
    "cup": _table("""
        coffee, black coffee, espresso, latte, cappuccino, tea, green tea, black tea, herbal tea, milk tea, ginger
        tea, masala chai, chai, hot chocolate, cocoa
    """),
    "glass": _table("""
        water, milk, skim milk, almond milk, soy milk, juice, orange juice, apple juice, grape juice, mango juice,
        tomato juice, fruit juice, lemonade, ice tea, iced coffee, soda, cola, diet soda, coconut water, buttermilk,
        wine, red wine, white wine, beer, lassi
    """),
    "spoon": _table("""
        butter, peanut butter, jam, jelly, honey, maple syrup, syrup, sugar, cream, cream cheese, mayonnaise,
        ketchup, mustard, chutney, ghee, salsa, gravy, sour cream, olive oil, salt, soy sauce, tomato sauce, hot
        sauce, dressing, margarine
    """),
}
"Unit it usually comes in -> foods that are measured."

DRINK_UNITS: Final = ("cup", "glass")
SIDE_UNITS: Final = ("spoon",)

UNITS: Final = _table("""
    slice, piece, bowl, cup, glass, plate, serving, spoon, teaspoon, tablespoon, handful, can, bottle, packet, bar,
    scoop, gram, ounce, portion, box, bunch, strip, pot, mug, bite, helping
""")
"Units in the singular that a caller may name."

OTHER_UNITS: Final = {
    "g": "gram",
    "gm": "gram",
    "gms": "gram",
    "kg": "kilogram",
    "kilo": "kilogram",
    "kilos": "kilogram",
    "ml": "milliliter",
    "oz": "ounce",
    "lb": "pound",
    "lbs": "pound",
    "tbsp": "tablespoon",
    "tsp": "teaspoon",
    "spoonful": "spoon",
    "spoonfuls": "spoon",
    "spoons": "spoon",
    "bowlful": "bowl",
    "katori": "bowl",
    "pack": "packet",
    "packs": "packet",
    "tin": "can",
    "tins": "can",
}
"Spellings that written transcripts have and the grammar has not."

PREPARATIONS: Final = _table("""
    boiled, fried, scrambled, poached, grilled, baked, roasted, steamed, mashed, raw, smoked, toasted, stewed,
    barbecued, hard boiled, soft boiled, deep fried, stir fried, plain, sweet, spicy, fresh, cooked, dry
""")

HOW_MADE: Final = {
    "egg": ("boiled", "fried", "scrambled"),
    "potato": ("boiled", "baked", "fried"),
    "chicken": ("grilled", "fried", "roasted"),
    "fish": ("grilled", "fried", "baked"),
    "salmon": ("grilled", "smoked", "baked"),
    "chicken breast": ("grilled", "fried", "baked"),
    "lamb": ("grilled", "roasted", "stewed"),
    "paneer": ("grilled", "fried", "raw"),
    "tofu": ("fried", "grilled", "raw"),
}
"Foods where the preparation matters, with the answers to offer."

SOUNDS_LIKE: Final = {
    "chapati": "chap potty",
    "dosa": "dough sa",
    "idli": "idly",
    "biryani": "beer yanni",
    "paneer": "pan ear",
    "masala": "ma sala",
    "paratha": "pa rata",
    "pakora": "pa cora",
    "raita": "rye ta",
    "poha": "poe ha",
    "upma": "up ma",
    "sambar": "sam bar",
    "lassi": "lassie",
    "kheer": "kier",
    "tikka": "tick a",
    "chickpeas": "chick peas",
    "muesli": "muse lee",
    "smoothie": "smooth e",
    "smoothies": "smooth ease",
    "ramen": "rah men",
    # Their plurals differ by one weak sound, and many callers say the singular anyway.
    "chapatis": "chap potty",
    "dosas": "dough sa",
    "idlis": "idly",
    "parathas": "pa rata",
    "pakoras": "pa cora",
    "naans": "naan",
    "rotis": "roti",
    "samosas": "samosa",
}
"Words the recognizer's dictionary lacks -> words it has that sound the same."

TOO_CLOSE: Final = frozenset({"goat", "raita", "ham", "cod"})
"Foods the grammar leaves out: on a telephone they are heard where `toast`, `rice`, `and` and `cup` were said."

NUMBERS: Final = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60,
    "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
"Number words that stand alone; `hundred`, `half` and `dozen` are read by rule."

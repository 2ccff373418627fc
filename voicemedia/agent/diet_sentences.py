"""What the diet agent says. Each is spoken: short, plain, no symbols. Of several wordings the script takes turns."""

from typing import Final

from voicemedia.agent.diet_log import UNIT_OF, DayLog, Entry, Meal, in_words, listed
from voicemedia.agent.diet_words import COUNTED, HOW_MADE, plural

GREETINGS: Final = ("Good morning", "Good afternoon", "Good evening")
INTRODUCTION: Final = "This is your food diary."
WELCOME_BACK: Final = ("Welcome back{name}.",)
SO_FAR: Final = ("For {meal} I have {foods}.",)

NOTED: Final = ("Got it, {foods}.", "All right, {foods}.", "Okay, {foods}.")
FILLED: Final = ("Thank you, {foods}.", "Fine, {foods}.")
CHANGED: Final = ("I changed that to {foods}.",)
REMOVED: Final = ("I removed {foods}.",)
NOT_THERE: Final = ("I do not have that in your {meal}.",)
NEVER_MIND: Final = ("Never mind.", "That is fine.")
CLOSED: Final = ("Okay, that was your {meal}.", "Good, I have your {meal}.")
SKIPPED: Final = ("Okay, no {meal}.", "All right, we skip {meal}.")
WAITING: Final = ("Take your time.", "No hurry.")
LISTENING: Final = ("Sorry, go ahead.", "Sorry, I was saying.")
ERASED: Final = ("Your diary for today is empty again.",)
KEPT: Final = ("Good, I keep it as it is.",)
EMPTY: Final = ("Nothing is logged yet.",)
ASK_WHAT: Final = ("What was it?",)
ASK_WHAT_TO_ADD: Final = ("What was it, and for which meal?",)
GIVING_UP: Final = ("I am sorry, I can not hear you well. Please call again later. Goodbye.",)
FAREWELLS: Final = ("Thank you{name}. Goodbye.", "Goodbye{name}. Have a good day.")

UNCLEAR: Final = {
    "food": (
        "Sorry, I did not understand. You can say, for example, two eggs and a slice of toast.",
        "I did not get that. Say a food with its amount, for example, one bowl of rice.",
    ),
    "yes_no": ("Sorry, I did not understand. Please say yes or no.",),
}
KEYS: Final = (
    "I still did not understand. You can also press keys: 1 for breakfast, 2 for lunch, 3 for dinner, 4 for snacks, "
    "pound when a meal is complete, 9 to finish."
)
KEYS_YES_NO: Final = "I still did not understand. Press 1 for yes or 2 for no."
ONCE_MORE: Final = ("Sorry, once more, please.",)
HELP: Final = (
    "Tell me what you ate and how much, for example, two eggs and a cup of coffee. "
    "Say that is all when a meal is complete, read it back to hear your diary, or goodbye to finish. "
    "Keys work too: pound completes a meal, star repeats the question, 9 finishes."
)

ASK_MEAL: Final = ("What did you have for {meal}?", "What did you eat for {meal}?")
ASK_LATER_MEAL: Final = ("If {meal} is still to come, say skip. What did you have for {meal}?",)
ASK_SNACKS: Final = ("Did you have any snacks?",)
ASK_MORE: Final = ("Anything else for {meal}?", "What else did you have for {meal}?")
ASK_MORE_SNACKS: Final = ("Any other snacks?",)
ASK_ERASE: Final = ("Shall I erase everything you told me today?",)
ASK_ALL_DONE: Final = ("That is the whole day. Would you like to add anything?",)


def greeting(hour: int, first_name: str) -> str:
    """Greet by the hour (0 to 23) in the caller's time zone and by name."""
    part = 0 if 4 <= hour < 12 else 1 if 12 <= hour < 17 else 2
    return f"{GREETINGS[part]}{f', {first_name}' if first_name else ''}. {INTRODUCTION}"


def how_much(entry: Entry) -> str:
    """Ask for the amount in the food's own unit."""
    if entry.food in COUNTED:
        return f"How many {plural(entry.food)} did you have?"
    unit = UNIT_OF.get(entry.food)
    return f"How many {plural(unit)} of {entry.food} did you have?" if unit else f"How much {entry.food} did you have?"


def how_made(entry: Entry) -> str:
    """Ask for the preparation, with the usual answers."""
    number = entry.amount.number
    many = entry.food in COUNTED and number != 1
    food = plural(entry.food) if many else entry.food
    return f"{'Were' if many else 'Was'} the {food} {listed(HOW_MADE[entry.food], 'or')}?"


def read_back(log: DayLog) -> list[str]:
    """Say the day's log, a sentence a meal."""
    meals = [(meal, log.entries(meal)) for meal in Meal if log.entries(meal)]
    return [f"For {meal.value} you had {in_words(entries)}." for meal, entries in meals] or list(EMPTY)

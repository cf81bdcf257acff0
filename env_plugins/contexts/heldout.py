"""Eight more domains, held out for the final figures."""

from __future__ import annotations

from env_plugins.contexts.context import BIRDS, COLORS, PLACES, STONES, TREES, Context

HELD_OUT = (
    Context(
        "levers",
        PLACES,
        "lever",
        "A machine has {K} levers, tagged {names}. You pull one lever a round, for {T} rounds.",
        "A pull that drops a marble counts 1, any other pull 0.",
        "Each pull moves your score up or down by some points.",
        "Lever {name} gave {reward}.",
        shares="A machine has {K} levers, tagged {names}. In each of {T} rounds you spread one pull over the levers, "
        "as shares that sum to 1.",
        revealed="After a round every lever shows what a whole pull would have given, from 0 to 100 points.",
        hint="A lever you have seldom pulled may give more than it seems to, and a pull spent on it early can bring "
        "in far more later.",
        unit="points",
        scale=100.0,
    ),
    Context(
        "doors",
        BIRDS,
        "door",
        "A hall has {K} doors: {names}. You walk through one door a round, for {T} rounds.",
        "A door with a coin behind it counts 1, a door without 0.",
        "Behind each door you gain some coins or lose some.",
        "Door {name} gave {reward}.",
        shares="A hall has {K} doors: {names}. In each of {T} rounds you set the chance of walking through each door; "
        "the chances sum to 1.",
        revealed="After a round every door opens and shows what was behind it, from 0 to 10 coins.",
        hint="A door you have hardly used may hide more than you think, and the rounds in which you look behind it "
        "early pay off in the end.",
        unit="coins",
        scale=10.0,
    ),
    Context(
        "telescopes",
        COLORS,
        "telescope",
        "An observatory has {K} telescopes: {names}. On each of {T} nights you book one telescope.",
        "A night with a clear view counts 1, any other night 0.",
        "Each night's sharp images, less the usual number of images, are counted.",
        "Telescope {name} gave {reward}.",
        shares="An observatory has {K} telescopes: {names}. On each of {T} nights you divide the hours over the "
        "telescopes, as shares that sum to 1.",
        revealed="At dawn you learn what every telescope would have taken in a whole night, from 0 to 100 sharp "
        "images.",
        hint="A telescope that has seldom been booked may see more than its record shows, and a night spent on it "
        "early helps on all later nights.",
        unit="images",
        scale=100.0,
    ),
    Context(
        "hives",
        STONES,
        "hive",
        "A beekeeper owns {K} hives, named {names}. On each of {T} visits you empty one hive.",
        "A visit that fills the jar counts 1, any other visit 0.",
        "The honey of each visit, less the usual amount, is weighed in grams.",
        "Hive {name} gave {reward}.",
        shares="A beekeeper owns {K} hives, named {names}. In each of {T} weeks you divide the working hours over the "
        "hives, as shares that sum to 1.",
        revealed="At the end of a week you learn what every hive would have given in all those hours, from 0 to 1000 "
        "grams.",
        hint="A hive you have seldom emptied may be richer than it looks, and a visit spent on finding out early "
        "sweetens all the later ones.",
        unit="grams",
        scale=1000.0,
    ),
    Context(
        "chargers",
        TREES,
        "charger",
        "A taxi firm has {K} chargers, called {names}. {T} cars come in one by one and you send each car to one "
        "charger.",
        "A car that is full within the hour counts 1, any other car 0.",
        "The time each car saves, against the usual, is told in minutes.",
        "Charger {name} scored {reward}.",
        shares="A taxi firm has {K} chargers, called {names}. On each of {T} days you divide the cars over the "
        "chargers, as shares that sum to 1.",
        revealed="At night the time saved per car is read off at every charger, from 0 to 60 minutes.",
        hint="A charger that has served few cars may be faster than it seems, and cars sent there early tell you "
        "where to send all the others.",
        unit="minutes",
        scale=60.0,
    ),
    Context(
        "trailers",
        PLACES,
        "trailer",
        "A cinema has {K} trailers for one film, labeled {names}. Before each of {T} shows you screen one trailer.",
        "A show after which somebody books the film counts 1, any other show 0.",
        "The tickets sold after each show, less the usual number of tickets, are counted.",
        "Trailer {name} brought {reward}.",
        shares="A chain of cinemas has {K} trailers for one film, labeled {names}. On each of {T} days you set the "
        "share of shows that open with each trailer; the shares sum to 1.",
        revealed="At the end of a day the sales per show are known for every trailer, from 0 to 100 tickets.",
        hint="A trailer that has seldom been screened may draw more people than you think, and what a few early shows "
        "tell you pays off at all the others.",
        unit="tickets",
        scale=100.0,
    ),
    Context(
        "tariffs",
        BIRDS,
        "tariff",
        "A bicycle rental shop has {K} tariffs, filed as {names}. On each of {T} days you post one tariff.",
        "A day on which all bicycles are rented counts 1, any other day 0.",
        "Each day's income, less the usual income, is told in dollars.",
        "Tariff {name} brought {reward}.",
        shares="A bicycle rental shop has {K} tariffs, filed as {names}. On each of {T} days you set the share of "
        "bicycles rented under each tariff; the shares sum to 1.",
        revealed="In the evening you learn what every tariff would have made with all the bicycles, from 0 to 500 "
        "dollars.",
        hint="A tariff that has seldom been posted may earn more than it has so far, and a day given to it early can "
        "be repaid many times over.",
        unit="dollars",
        scale=500.0,
    ),
    Context(
        "bows",
        COLORS,
        "bow",
        "An archer owns {K} bows, known as {names}. There are {T} arrows to shoot, and you choose one bow for each "
        "arrow.",
        "An arrow in the middle of the target counts 1, any other arrow 0.",
        "Each arrow's score, less the usual score, is told in points.",
        "Bow {name} scored {reward}.",
        shares="An archer owns {K} bows, known as {names}. On each of {T} days you divide the arrows over the bows, "
        "as shares that sum to 1.",
        revealed="In the evening you learn the score per arrow with every bow, from 0 to 10 points.",
        hint="A bow you have rarely drawn may shoot better than it seems to, and arrows spent on it early raise the "
        "score of all those that follow.",
        unit="points",
        scale=10.0,
    ),
)

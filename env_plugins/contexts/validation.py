"""Seven domains for choosing settings; they are neither trained on nor reported on."""

from __future__ import annotations

from env_plugins.contexts.context import BIRDS, COLORS, PLACES, STONES, TREES, Context

VALIDATION = (
    Context(
        "dials",
        COLORS,
        "dial",
        "A console has {K} dials: {names}. You turn one dial a round, for {T} rounds.",
        "A turn that rings the bell counts 1, a silent turn 0.",
        "Each turn adds points to your score or takes points away.",
        "Dial {name} gave {reward}.",
        shares="A console has {K} dials: {names}. In each of {T} rounds you spread one full turn over the dials, as "
        "shares that sum to 1.",
        revealed="After a round every dial shows what a full turn would have given, from 0 to 10 points.",
        hint="A dial you have barely turned may be better than it looks, and turns spent on it early can bring more "
        "in the rounds that follow.",
        unit="points",
        scale=10.0,
    ),
    Context(
        "pumps",
        TREES,
        "pump",
        "A flooded cellar can be drained with {K} pumps: {names}. In each of {T} hours you run one pump.",
        "An hour in which the water falls counts 1, any other hour 0.",
        "The water moved in an hour, less the usual amount, is measured in liters.",
        "Pump {name} gave {reward}.",
        shares="A flooded cellar can be drained with {K} pumps: {names}. In each of {T} hours you divide the fuel "
        "over the pumps, as shares that sum to 1.",
        revealed="After an hour you learn what every pump would have moved with all the fuel, from 0 to 500 liters.",
        hint="A pump that has run little may move more water than it seems to, and an hour given to it early can save "
        "many hours later.",
        unit="liters",
        scale=500.0,
    ),
    Context(
        "recipes",
        STONES,
        "recipe",
        "A tea house has {K} recipes for iced tea, named {names}. On each of {T} days you brew one recipe.",
        "A day on which the jugs are emptied counts 1, any other day 0.",
        "Each day's sales, less the usual sales, are counted in cups.",
        "Recipe {name} scored {reward}.",
        shares="A tea house has {K} recipes for iced tea, named {names}. On each of {T} days you divide the jugs over "
        "the recipes, as shares that sum to 1.",
        revealed="At closing time you learn how much of every recipe would have sold, from 0 to 100 cups.",
        hint="A recipe you have seldom brewed may please more people than you think, and the days on which you try it "
        "early make the later ones better.",
        unit="cups",
        scale=100.0,
    ),
    Context(
        "coupons",
        PLACES,
        "coupon",
        "An online bookshop has {K} coupons, coded {names}. {T} customers visit in turn and you send each customer "
        "one coupon.",
        "A customer who buys counts 1, one who does not 0.",
        "The profit on each customer, less the coupon, is booked in cents.",
        "Coupon {name} brought {reward}.",
        shares="An online bookshop has {K} coupons, coded {names}. In each of {T} weeks you set the share of "
        "customers who get each coupon; the shares sum to 1.",
        revealed="At the end of a week the profit per customer is known for every coupon, from 0 to 200 cents.",
        hint="A coupon that few customers have had may sell more than it has so far, and what the first ones teach "
        "you is earned back with the others.",
        unit="cents",
        scale=200.0,
    ),
    Context(
        "lineups",
        BIRDS,
        "lineup",
        "A volleyball coach has drawn up {K} lineups, called {names}. There are {T} matches, and you choose one "
        "lineup for each.",
        "A win counts 1, a defeat 0.",
        "The lead at the end of each match is told in points, and a defeat is a lead below zero.",
        "Lineup {name} scored {reward}.",
        shares="A volleyball coach has drawn up {K} lineups, called {names}. In each of {T} matches you divide the "
        "playing time over the lineups, as shares that sum to 1.",
        revealed="After a match you learn the lead that every lineup would have won on its own, from 0 to 20 points.",
        hint="A lineup that has seldom played may be stronger than its results suggest, and a match spent on trying "
        "it early can win many later ones.",
        unit="points",
        scale=20.0,
    ),
    Context(
        "trucks",
        COLORS,
        "truck",
        "A depot has {K} trucks, known as {names}. {T} loads are waiting, and you put each load on one truck.",
        "A load that arrives undamaged counts 1, a damaged one 0.",
        "The fuel saved on each load, against the usual, is measured in liters.",
        "Truck {name} got {reward}.",
        shares="A depot has {K} trucks, known as {names}. On each of {T} days you divide the loads over the trucks, "
        "as shares that sum to 1.",
        revealed="In the evening the fuel saved per load is known for every truck, from 0 to 10 liters.",
        hint="A truck that has driven few loads may be better than it looks, and a load put on it early can save fuel "
        "on many others.",
        unit="liters",
        scale=10.0,
    ),
    Context(
        "ointments",
        STONES,
        "ointment",
        "A vet has {K} ointments, marked {names}. {T} dogs with a rash are brought in, and you choose one ointment "
        "for each dog.",
        "A dog that is well after three days counts 1, any other dog 0.",
        "How far each rash has healed, less the usual healing, is told in percent.",
        "Ointment {name} scored {reward}.",
        shares="A group of vets has {K} ointments, marked {names}. In each of {T} weeks you set the share of dogs "
        "treated with each ointment; the shares sum to 1.",
        revealed="At the end of a week you learn how well every ointment heals, from 0 to 100 percent.",
        hint="An ointment that few dogs have had may work better than it seems to, and learning so early helps all "
        "the dogs that come later.",
        unit="percent",
        scale=100.0,
    ),
)

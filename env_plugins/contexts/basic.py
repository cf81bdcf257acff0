"""Sixteen plain domains, twelve to train on and four held out: the ones the tiny bases speak.

Names are shuffled per scenario, so no word says how good an option is.
"""

from __future__ import annotations

from env_plugins.contexts.context import BIRDS, COLORS, PLACES, STONES, TREES, Context

BASIC = (
    Context(
        "buttons",
        COLORS,
        "button",
        "A panel has {K} buttons: {names}. You press one button a round, for {T} rounds.",
        "A press pays 1 coin or 0.",
        "A press pays a number of coins, which may be negative.",
        "Button {name} paid {reward}.",
    ),
    Context(
        "medicine",
        STONES,
        "treatment",
        "A ward compares {K} treatments, code-named {names}. {T} patients arrive one by one and you give each patient "
        "one treatment.",
        "A patient who recovers within the week counts 1, any other patient 0.",
        "Each patient's recovery is measured as a number.",
        "Treatment {name} gave {reward}.",
    ),
    Context(
        "banners",
        COLORS,
        "banner",
        "A web page has room for one of {K} banners: {names}. You choose the banner that each of the next {T} visitors "
        "will see.",
        "A click counts 1, no click counts 0.",
        "Each visitor's spending is logged as a number.",
        "Banner {name} got {reward}.",
    ),
    Context(
        "plots",
        PLACES,
        "plot",
        "A farm rents out {K} plots, called {names}. In each of {T} seasons you plant exactly one plot.",
        "A season's harvest either succeeds, which counts 1, or fails, which counts 0.",
        "A season's profit is a number and can be a loss.",
        "Plot {name} gave {reward}.",
    ),
    Context(
        "routes",
        TREES,
        "route",
        "A courier can drive {K} routes: {names}. There are {T} deliveries to make and you pick one route for each.",
        "A delivery on time counts 1, a late one 0.",
        "Each delivery is given a punctuality score, a number.",
        "Route {name} scored {reward}.",
    ),
    Context(
        "channels",
        BIRDS,
        "channel",
        "A radio can send on {K} channels: {names}. You must send {T} packets, each on one channel of your choice.",
        "A packet that arrives counts 1, a lost packet 0.",
        "The receiver notes the signal strength of each packet as a number.",
        "Channel {name} got {reward}.",
    ),
    Context(
        "fishing",
        PLACES,
        "spot",
        "A boat knows {K} fishing spots: {names}. On each of {T} days it sails to the one spot you name.",
        "A day with a catch counts 1, a day without 0.",
        "A day's catch less its fuel is a number.",
        "Spot {name} gave {reward}.",
    ),
    Context(
        "menu",
        TREES,
        "dish",
        "A small kitchen can serve {K} dishes as dish of the day, listed as {names}. Each of {T} days you choose one.",
        "A day on which the dish sells out counts 1, any other day 0.",
        "A day's takings, against the usual, are a number.",
        "Dish {name} scored {reward}.",
    ),
    Context(
        "tutoring",
        BIRDS,
        "method",
        "A tutor has {K} ways to explain a topic, labeled {names}. {T} pupils come in turn, and you choose one method "
        "for each.",
        "A pupil who then solves the exercise counts 1, otherwise 0.",
        "Each pupil's gain on a short test is a number.",
        "Method {name} scored {reward}.",
    ),
    Context(
        "pickers",
        STONES,
        "picker",
        "A warehouse owns {K} picking robots, named {names}. {T} orders are waiting and each goes to one robot.",
        "An order picked without a fault counts 1, otherwise 0.",
        "Each order gets a quality mark, a number.",
        "Picker {name} scored {reward}.",
    ),
    Context(
        "mirrors",
        BIRDS,
        "mirror",
        "A file can be fetched from {K} mirrors: {names}. You fetch {T} pieces in turn, each from one mirror.",
        "A piece that comes without an error counts 1, otherwise 0.",
        "The speed of each fetch, against a reference, is a number.",
        "Mirror {name} got {reward}.",
    ),
    Context(
        "letters",
        COLORS,
        "letter",
        "A museum has drafted {K} versions of an invitation: {names}. {T} guests are invited in turn, each with one "
        "version.",
        "A guest who accepts counts 1, one who does not 0.",
        "Each guest's donation, less the cost, is a number.",
        "Letter {name} got {reward}.",
    ),
)

BASIC_HELD_OUT = (
    Context(
        "wells",
        PLACES,
        "well",
        "A village can pump from {K} wells: {names}. For {T} mornings you say which well is used.",
        "A morning with clean water counts 1, a morning without 0.",
        "Each morning's yield, against the need, is a number.",
        "Well {name} gave {reward}.",
    ),
    Context(
        "guides",
        TREES,
        "guide",
        "A castle employs {K} guides, who go by the names {names}. {T} groups arrive and you assign one guide to each "
        "group.",
        "A group that leaves a tip counts 1, otherwise 0.",
        "Each group's rating is a number.",
        "Guide {name} scored {reward}.",
    ),
    Context(
        "filters",
        STONES,
        "filter",
        "A lab tests {K} filters: {names}. It can run {T} trials, with one filter in each trial.",
        "A trial that passes inspection counts 1, one that does not 0.",
        "Each trial ends with a measured purity, a number.",
        "Filter {name} got {reward}.",
    ),
    Context(
        "jukebox",
        COLORS,
        "record",
        "A cafe owns {K} records with plain sleeves: {names}. You play one record in each of {T} hours.",
        "An hour in which somebody dances counts 1, any other hour 0.",
        "The mood of each hour is written down as a number.",
        "Record {name} scored {reward}.",
    ),
)

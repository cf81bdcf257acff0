"""Sixteen plain domains, twelve to train on and four held out; the tiny base models know their vocabulary.

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
        shares="A panel has {K} buttons: {names}. In each of {T} rounds you spread one press over the buttons, as "
        "shares that sum to 1.",
        revealed="After a round every button shows what a full press would have paid, a number of coins between 0 and "
        "1.",
        hint="A button you have hardly pressed may pay more than it seems to, and a press spent on finding out early "
        "is earned back later.",
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
        shares="A group of hospitals compares {K} treatments, code-named {names}. In each of {T} weeks you set the "
        "share of patients who get each treatment; the shares sum to 1.",
        revealed="At the end of a week the success of every treatment becomes known, a number between 0 and 1.",
        hint="A treatment that few patients have had may be better than its first results suggest, and learning so "
        "early helps everyone who comes later.",
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
        shares="A web page can show {K} banners: {names}. For each of {T} days you set the share of visitors who will "
        "see each banner; the shares sum to 1.",
        revealed="In the evening you learn how well every banner did, a number between 0 and 1.",
        hint="A banner that few visitors have seen may do better than its record suggests, and what the first "
        "visitors teach you pays off with all the later ones.",
    ),
    Context(
        "plots",
        PLACES,
        "plot",
        "A farm rents out {K} plots, called {names}. In each of {T} seasons you plant exactly one plot.",
        "A season's harvest either succeeds, which counts 1, or fails, which counts 0.",
        "A season's profit is a number and can be a loss.",
        "Plot {name} gave {reward}.",
        shares="A farm has {K} plots, called {names}. In each of {T} seasons you divide the seed over the plots, as "
        "shares that sum to 1.",
        revealed="After the harvest you learn how well every plot bore, a number between 0 and 1.",
        hint="A plot that has seldom been planted may be richer than it looks, and a season spent on it early can pay "
        "for many seasons to come.",
    ),
    Context(
        "routes",
        TREES,
        "route",
        "A courier can drive {K} routes: {names}. There are {T} deliveries to make and you pick one route for each.",
        "A delivery on time counts 1, a late one 0.",
        "Each delivery is given a punctuality score, a number.",
        "Route {name} scored {reward}.",
        shares="A courier firm can use {K} routes: {names}. On each of {T} days you divide the parcels over the "
        "routes, as shares that sum to 1.",
        revealed="At night you learn how punctual every route was, a number between 0 and 1.",
        hint="A route that has hardly been driven may be better than you think, and a delivery spent on trying it "
        "early can save many later ones.",
    ),
    Context(
        "channels",
        BIRDS,
        "channel",
        "A radio can send on {K} channels: {names}. You must send {T} packets, each on one channel of your choice.",
        "A packet that arrives counts 1, a lost packet 0.",
        "The receiver notes the signal strength of each packet as a number.",
        "Channel {name} got {reward}.",
        shares="A radio can send on {K} channels: {names}. In each of {T} minutes you divide the packets over the "
        "channels, as shares that sum to 1.",
        revealed="After a minute the quality of every channel is measured, a number between 0 and 1.",
        hint="A channel that has carried few packets may be clearer than it seems, and packets risked on it early can "
        "save many later on.",
    ),
    Context(
        "fishing",
        PLACES,
        "spot",
        "A boat knows {K} fishing spots: {names}. On each of {T} days it sails to the one spot you name.",
        "A day with a catch counts 1, a day without 0.",
        "A day's catch less its fuel is a number.",
        "Spot {name} gave {reward}.",
        shares="A boat knows {K} fishing spots: {names}. On each of {T} days you divide its hours at sea over the "
        "spots, as shares that sum to 1.",
        revealed="In the evening the other crews tell you how good every spot was, a number between 0 and 1.",
        hint="A spot you have seldom sailed to may hold more fish than its record shows, and a day spent on finding "
        "out early is repaid later.",
    ),
    Context(
        "menu",
        TREES,
        "dish",
        "A small kitchen can serve {K} dishes as dish of the day, listed as {names}. Each of {T} days you choose one.",
        "A day on which the dish sells out counts 1, any other day 0.",
        "A day's takings, against the usual, are a number.",
        "Dish {name} scored {reward}.",
        shares="A canteen can cook {K} dishes, listed as {names}. On each of {T} days you divide the pots over the "
        "dishes, as shares that sum to 1.",
        revealed="At closing time the demand for every dish is known, a number between 0 and 1.",
        hint="A dish that has seldom been served may please more guests than you think, and the days on which you try "
        "it early pay off later.",
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
        shares="A tutor has {K} ways to explain a topic, labeled {names}. In each of {T} lessons you divide the time "
        "over the methods, as shares that sum to 1.",
        revealed="After a lesson you learn how much every method helps, a number between 0 and 1.",
        hint="A method that few pupils have had may teach better than its first results suggest, and what you find "
        "out early helps all the pupils after.",
    ),
    Context(
        "pickers",
        STONES,
        "picker",
        "A warehouse owns {K} picking robots, named {names}. {T} orders are waiting and each goes to one robot.",
        "An order picked without a fault counts 1, otherwise 0.",
        "Each order gets a quality mark, a number.",
        "Picker {name} scored {reward}.",
        shares="A warehouse owns {K} picking robots, named {names}. In each of {T} shifts you divide the orders over "
        "the robots, as shares that sum to 1.",
        revealed="After a shift every picker is marked for the quality of its work, with a number between 0 and 1.",
        hint="A picker that has had few orders may be better than it seems, and orders given to it early show you "
        "what to do with all the others.",
    ),
    Context(
        "mirrors",
        BIRDS,
        "mirror",
        "A file can be fetched from {K} mirrors: {names}. You fetch {T} pieces in turn, each from one mirror.",
        "A piece that comes without an error counts 1, otherwise 0.",
        "The speed of each fetch, against a reference, is a number.",
        "Mirror {name} got {reward}.",
        shares="A file can be fetched from {K} mirrors: {names}. In each of {T} minutes you divide the requests over "
        "the mirrors, as shares that sum to 1.",
        revealed="After a minute the speed of every mirror is measured, a number between 0 and 1.",
        hint="A mirror you have hardly used may be better than it looks, and a few pieces fetched there early can "
        "speed up all the rest.",
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
        shares="A museum has drafted {K} versions of an invitation: {names}. For each of {T} mailings you set the "
        "share of guests who get each version; the shares sum to 1.",
        revealed="After a mailing you learn how well every letter was received, a number between 0 and 1.",
        hint="A letter that few guests have had may win more of them than you think, and what the first answers teach "
        "you pays off with later guests.",
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
        shares="A village can pump from {K} wells: {names}. On each of {T} mornings you divide the pumping over the "
        "wells, as shares that sum to 1.",
        revealed="By noon the water of every well has been rated with a number between 0 and 1.",
        hint="A well that has seldom been used may be better than people think, and a morning spent on trying it "
        "early serves many mornings to come.",
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
        shares="A castle employs {K} guides, who go by the names {names}. On each of {T} days you divide the visitors "
        "over the guides, as shares that sum to 1.",
        revealed="At closing time every guide's rating is posted, a number between 0 and 1.",
        hint="A guide who has led few groups may be better than the first ratings suggest, and giving that guide a "
        "chance early pays off with later groups.",
    ),
    Context(
        "filters",
        STONES,
        "filter",
        "A lab tests {K} filters: {names}. It can run {T} trials, with one filter in each trial.",
        "A trial that passes inspection counts 1, one that does not 0.",
        "Each trial ends with a measured purity, a number.",
        "Filter {name} got {reward}.",
        shares="A lab can send its water through {K} filters: {names}. In each of {T} hours you divide the flow over "
        "the filters, as shares that sum to 1.",
        revealed="After an hour the purity reached by every filter is measured, a number between 0 and 1.",
        hint="A filter that has had few trials may be better than it seems, and trials spent on it early make the "
        "later ones more successful.",
    ),
    Context(
        "jukebox",
        COLORS,
        "record",
        "A cafe owns {K} records with plain sleeves: {names}. You play one record in each of {T} hours.",
        "An hour in which somebody dances counts 1, any other hour 0.",
        "The mood of each hour is written down as a number.",
        "Record {name} scored {reward}.",
        shares="A cafe owns {K} records with plain sleeves: {names}. For each of {T} evenings you set the chance of "
        "each record being played; the chances sum to 1.",
        revealed="At closing time the guests' liking for every record is noted as a number between 0 and 1.",
        hint="A record that has seldom been played may please more people than you think, and playing it early can "
        "make all the later hours better.",
    ),
)

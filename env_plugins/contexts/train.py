"""Sixteen more domains to train on, most of them with their own unit."""

from __future__ import annotations

from env_plugins.contexts.context import BIRDS, COLORS, PLACES, STONES, TREES, Context

TRAIN = (
    Context(
        "drawers",
        STONES,
        "drawer",
        "A cabinet has {K} drawers, marked {names}. You open one drawer a round, for {T} rounds.",
        "A drawer with a token in it counts 1, an empty one 0.",
        "Each time you open a drawer, points are added to your score or taken from it.",
        "Drawer {name} gave {reward}.",
        shares="A cabinet has {K} drawers, marked {names}. In each of {T} rounds you spread one token over the "
        "drawers, as shares that sum to 1.",
        revealed="After a round every drawer is opened and shows what a whole token on it would have won, from 0 to "
        "100 points.",
        hint="A drawer you have seldom opened may be better than it looks, and opening it early leaves many rounds to "
        "use what you find.",
        unit="points",
        scale=100.0,
    ),
    Context(
        "symbols",
        BIRDS,
        "symbol",
        "A screen shows {K} symbols, known as {names}. You touch one symbol a round, for {T} rounds.",
        "A touch that lights the lamp counts 1, any other touch 0.",
        "Each touch is answered with a number, which may be negative.",
        "Symbol {name} showed {reward}.",
        shares="A screen shows {K} symbols, known as {names}. In each of {T} rounds you give every symbol a weight; "
        "the weights are shares that sum to 1.",
        revealed="After a round a number between 0 and 1 appears under every symbol.",
        hint="A symbol you have hardly touched may be worth more than you think, and the sooner you find out, the "
        "longer it serves you.",
    ),
    Context(
        "pricelists",
        BIRDS,
        "list",
        "A bakery has printed {K} price lists, called {names}. On each of {T} mornings you put up one list for the "
        "day.",
        "A day with more profit than usual counts 1, any other day 0.",
        "Each day's profit, less the usual profit, is told in dollars.",
        "List {name} brought {reward}.",
        shares="A chain of bakeries has printed {K} price lists, called {names}. On each of {T} mornings you set the "
        "share of the shops that put up each list; the shares sum to 1.",
        revealed="In the evening you learn the profit per shop with every list, from 0 to 100 dollars.",
        hint="A list that has seldom been up may earn more than it has so far, and the days you give it early are "
        "repaid by the days that follow.",
        unit="dollars",
        scale=100.0,
    ),
    Context(
        "servers",
        TREES,
        "server",
        "A company rents {K} cloud servers: {names}. {T} jobs arrive one after another and you send each job to one "
        "server.",
        "A job that ends on time counts 1, a late one 0.",
        "The time each job saves, against the usual, is logged in milliseconds.",
        "Server {name} scored {reward}.",
        shares="A company rents {K} cloud servers: {names}. In each of {T} hours you divide the jobs over the "
        "servers, as shares that sum to 1.",
        revealed="After an hour the log shows the time saved per job on every server, from 0 to 1000 milliseconds.",
        hint="A server that has run few jobs may be faster than its log suggests, and jobs sent there early show you "
        "where to send the many that follow.",
        unit="milliseconds",
        scale=1000.0,
    ),
    Context(
        "turbines",
        COLORS,
        "turbine",
        "A dam has {K} turbines, labeled {names}. In each of {T} hours you let the water run through one turbine.",
        "An hour without a stop counts 1, any other hour 0.",
        "Each hour's power, less the planned power, is metered in kilowatts.",
        "Turbine {name} gave {reward}.",
        shares="A dam has {K} turbines, labeled {names}. In each of {T} hours you divide the water over the turbines, "
        "as shares that sum to 1.",
        revealed="After an hour you are told what every turbine would have given with all the water, from 0 to 100 "
        "kilowatts.",
        hint="A turbine that has run little may give more than its first hours show, and testing it early pays in "
        "every hour that is left.",
        unit="kilowatts",
        scale=100.0,
    ),
    Context(
        "drills",
        TREES,
        "drill",
        "A swimming coach has {K} drills, called {names}. For {T} training days you pick one drill a day.",
        "A day on which the squad beats its usual time counts 1, any other day 0.",
        "Each day's gain on the usual time is told in seconds.",
        "Drill {name} brought {reward}.",
        shares="A swimming coach has {K} drills, called {names}. On each of {T} training days you divide the time in "
        "the water over the drills, as shares that sum to 1.",
        revealed="After training you learn what a day of every drill would have gained, from 0 to 10 seconds.",
        hint="A drill the squad has rarely swum may help more than you expect, and days spent on trying it early pay "
        "off for the rest of the season.",
        unit="seconds",
        scale=10.0,
    ),
    Context(
        "slogans",
        STONES,
        "slogan",
        "A travel office has {K} slogans, filed under {names}. Each of {T} weekly ads carries one slogan of your "
        "choice.",
        "A week with more bookings than usual counts 1, any other week 0.",
        "Each week's bookings, less the usual number of bookings, are counted.",
        "Slogan {name} brought {reward}.",
        shares="A travel office has {K} slogans, filed under {names}. In each of {T} weeks you divide the money for "
        "ads over the slogans, as shares that sum to 1.",
        revealed="At the end of a week a survey shows what all the money would have brought with every slogan, from 0 "
        "to 100 bookings.",
        hint="A slogan that has seldom run may draw more people than you think, and what a few early ads teach you "
        "pays off in the weeks to come.",
        unit="bookings",
        scale=100.0,
    ),
    Context(
        "docks",
        COLORS,
        "dock",
        "A port has {K} docks: {names}. {T} ships come in one by one and you send each ship to one dock.",
        "A ship that leaves on schedule counts 1, a delayed one 0.",
        "The time each ship saves, against the schedule, is told in minutes.",
        "Dock {name} scored {reward}.",
        shares="A port has {K} docks: {names}. On each of {T} days you divide the ships over the docks, as shares "
        "that sum to 1.",
        revealed="At night the time saved per ship is posted for every dock, from 0 to 60 minutes.",
        hint="A dock that has served few ships may be quicker than it seems, and ships sent there early tell you how "
        "to save time with all the others.",
        unit="minutes",
        scale=60.0,
    ),
    Context(
        "lamps",
        PLACES,
        "lamp",
        "A greenhouse grows tomatoes under {K} lamps, named {names}. In each of {T} weeks you switch on one lamp.",
        "A week in which the plants grow well counts 1, any other week 0.",
        "Each week's harvest, less the usual harvest, is weighed in grams.",
        "Lamp {name} gave {reward}.",
        shares="A greenhouse grows tomatoes under {K} lamps, named {names}. In each of {T} weeks you divide the hours "
        "of light over the lamps, as shares that sum to 1.",
        revealed="At the end of a week test plants show what every lamp alone would have given, from 0 to 1000 grams.",
        hint="A lamp that has seldom been on may do more good than it seems, and weeks spent on testing it early are "
        "repaid in later harvests.",
        unit="grams",
        scale=1000.0,
    ),
    Context(
        "teams",
        BIRDS,
        "team",
        "A fund supports {K} research teams, named {names}. In each of {T} months you give the grant to one team.",
        "A month that ends with a new finding counts 1, any other month 0.",
        "Each month's progress, less the usual progress, is told in percent of the project.",
        "Team {name} scored {reward}.",
        shares="A fund supports {K} research teams, named {names}. In each of {T} months you divide the grant over "
        "the teams, as shares that sum to 1.",
        revealed="At the end of a month you learn what every team would have added with the whole grant, from 0 to "
        "100 percent of its project.",
        hint="A team that has had few grants may be stronger than its record suggests, and a grant given early shows "
        "you whom to support later on.",
        unit="percent",
        scale=100.0,
    ),
    Context(
        "openings",
        STONES,
        "opening",
        "A chess player has prepared {K} openings under the code names {names}. There are {T} games to play, each "
        "with one opening.",
        "A won game counts 1, any other game 0.",
        "Each game's effect on the rating is told in points.",
        "Opening {name} scored {reward}.",
        shares="A chess club has prepared {K} openings under the code names {names}. For each of {T} match days you "
        "set the chance of each opening being played; the chances sum to 1.",
        revealed="After a match day you learn the effect of every opening on the rating, from 0 to 20 points.",
        hint="An opening you have rarely played may be stronger than it has looked so far, and games spent on it "
        "early help you win the later ones.",
        unit="points",
        scale=20.0,
    ),
    Context(
        "exercises",
        PLACES,
        "exercise",
        "A language course has {K} exercises, titled {names}. {T} learners sign in one by one, and you give each of "
        "them one exercise.",
        "A learner who passes the test afterwards counts 1, any other learner 0.",
        "What each learner takes in, less the usual amount, is counted in words.",
        "Exercise {name} scored {reward}.",
        shares="A language course has {K} exercises, titled {names}. In each of {T} weeks you divide the study time "
        "over the exercises, as shares that sum to 1.",
        revealed="A test at the end of the week shows what every exercise teaches in that time, from 0 to 100 words.",
        hint="An exercise that few learners have had may teach more than it seems to, and giving it to some of the "
        "first learners helps all the later ones.",
        unit="words",
        scale=100.0,
    ),
    Context(
        "elevators",
        BIRDS,
        "elevator",
        "A tower has {K} elevators: {names}. {T} calls come in, and you answer each call with one elevator.",
        "A caller who waits less than a minute counts 1, any other caller 0.",
        "The time each caller saves, against the usual wait, is told in seconds.",
        "Elevator {name} scored {reward}.",
        shares="A tower has {K} elevators: {names}. In each of {T} hours you divide the calls over the elevators, as "
        "shares that sum to 1.",
        revealed="After an hour the time saved per call is shown for every elevator, from 0 to 60 seconds.",
        hint="An elevator that has answered few calls may be faster than it seems, and a few calls given to it early "
        "can shorten the wait for everyone later.",
        unit="seconds",
        scale=60.0,
    ),
    Context(
        "funds",
        PLACES,
        "fund",
        "A saver can choose among {K} funds, listed as {names}. In each of {T} months all the savings go into the one "
        "fund you name.",
        "A month that ends with a gain counts 1, any other month 0.",
        "Each month's return is told in percent.",
        "Fund {name} returned {reward}.",
        shares="A saver can choose among {K} funds, listed as {names}. In each of {T} months you divide the savings "
        "over the funds, as shares that sum to 1.",
        revealed="At the end of a month the return of every fund is published, from 0 to 10 percent.",
        hint="A fund you have seldom held may return more than it has so far, and a month spent on it early can pay "
        "for many months to come.",
        unit="percent",
        scale=10.0,
    ),
    Context(
        "kilns",
        COLORS,
        "kiln",
        "A pottery has {K} kilns: {names}. {T} loads of pots wait to be fired, and you pick one kiln for each load.",
        "A load without a crack counts 1, any other load 0.",
        "The sound pots of each load, less the usual number of pots, are counted.",
        "Kiln {name} gave {reward}.",
        shares="A pottery has {K} kilns: {names}. On each of {T} days you divide the firing over the kilns, as shares "
        "that sum to 1.",
        revealed="In the evening you learn what a full day would have given in every kiln, from 0 to 100 sound pots.",
        hint="A kiln that has fired few loads may be better than its first pots suggest, and a load risked on it "
        "early can improve all those that follow.",
        unit="pots",
        scale=100.0,
    ),
    Context(
        "headlines",
        TREES,
        "headline",
        "A news site has {K} headlines for the same report, filed as {names}. {T} readers visit in turn, and you show "
        "each of them one headline.",
        "A reader who opens the report counts 1, any other reader 0.",
        "Each reader's time on the report, less the usual time, is told in seconds.",
        "Headline {name} got {reward}.",
        shares="A news site has {K} headlines for the same report, filed as {names}. In each of {T} hours you set the "
        "share of readers who see each headline; the shares sum to 1.",
        revealed="After an hour you learn the reading time that every headline earns, from 0 to 100 seconds.",
        hint="A headline that few readers have seen may hold more of them than you think, and what the first readers "
        "show you pays off with all the others.",
        unit="seconds",
        scale=100.0,
    ),
)

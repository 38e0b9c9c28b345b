%% The work of the benches for the BEAM. Usage:
%%   erl -noshell +S 2:2 +P 4000000 -pa DIRECTORY -run bench main ROW COUNT
%% It prints the lines that benches/processes/output.rs describes.
-module(bench).
-export([main/1, busy/1]).

main([Row, Count]) ->
    N = list_to_integer(Count),
    case Row of
        "spawn"          -> spawn_row(N);
        "spawn-wait"     -> spawn_wait(N);
        "live"           -> live(N);
        "ping-pong"      -> pairs(Row, 1, N);
        "ping-pong-2"    -> pairs(Row, 2, N);
        "ping-pong-busy" -> ping_pong_busy(N);
        "ring"           -> ring(1000, N);
        "fan-in"         -> fan_in(1000, N);
        "skynet"         -> skynet(N);
        "yield"          -> yield(N);
        "timer-busy"     -> timer(8, N);
        "timer-idle"     -> timer(0, N)
    end,
    halt(0).

now_ns() -> erlang:monotonic_time(nanosecond).

ns(Row, Metric, Count, Time) -> io:format("NS ~s ~s ~b ~b~n", [Row, Metric, Count, Time]).

%% N processes that end at once; the last one to count says so.
spawn_row(N) ->
    Main = self(), C = atomics:new(1, []),
    F = fun() -> case atomics:add_get(C, 1, 1) of N -> Main ! done; _ -> ok end end,
    T0 = now_ns(),
    spawn_all(N, F),
    T1 = now_ns(),
    receive done -> ok end,
    T2 = now_ns(),
    ns("spawn", "spawn_call", N, T1 - T0),
    ns("spawn", "total", N, T2 - T0).
spawn_all(0, _) -> ok;
spawn_all(K, F) -> spawn(F), spawn_all(K - 1, F).

%% Spawn one, wait for its message.
spawn_wait(N) ->
    Main = self(),
    F = fun() -> Main ! done end,
    T0 = now_ns(),
    spawn_wait(N, F),
    ns("spawn-wait", "latency", N, now_ns() - T0).
spawn_wait(0, _) -> ok;
spawn_wait(K, F) -> spawn(F), receive done -> spawn_wait(K - 1, F) end.

%% N processes blocked in receive; then one message to each and N replies.
live(N) ->
    Main = self(), C = atomics:new(1, []),
    F = fun() ->
            case atomics:add_get(C, 1, 1) of N -> Main ! ready; _ -> ok end,
            receive {From, X} -> From ! X end
        end,
    erlang:garbage_collect(),
    io:format("MARK start~n"),
    timer:sleep(300),
    T0 = now_ns(),
    Pids = make(N, F, []),
    receive ready -> ok end,
    T1 = now_ns(),
    io:format("MARK blocked~n"),
    timer:sleep(700),
    ns("live", "spawn_to_blocked", N, T1 - T0),
    T2 = now_ns(),
    send_all(Pids, Main, 1),
    Sum = collect(N, 0),
    T3 = now_ns(),
    Sum = N * (N + 1) div 2,
    ns("live", "send_collect", N, T3 - T2).
make(0, _, L) -> L;
make(K, F, L) -> make(K - 1, F, [spawn(F) | L]).
send_all([], _, _) -> ok;
send_all([P | T], M, I) -> P ! {M, I}, send_all(T, M, I + 1).
collect(0, S) -> S;
collect(K, S) -> receive X when is_integer(X) -> collect(K - 1, S + X) end.

%% Round trips of pairs, all at once.
pairs(Row, Pairs, N) ->
    Main = self(),
    All = [spawn(fun() ->
               Pong = spawn(fun() -> pong(N) end),
               receive go -> ok end,
               ping(Pong, N),
               Main ! done
           end) || _ <- lists:seq(1, Pairs)],
    timer:sleep(10),
    T0 = now_ns(),
    [P ! go || P <- All],
    [receive done -> ok end || _ <- All],
    ns(Row, "rtt", N, now_ns() - T0).
pong(N) -> receive {P, X} -> P ! X end, case N of 1 -> ok; _ -> pong(N - 1) end.
ping(_, 0) -> ok;
ping(P, N) -> P ! {self(), N}, receive N -> ok end, ping(P, N - 1).

%% Round trips of one pair for so many milliseconds, beside two endless loops.
busy(X) -> busy(X + 1).
ping_pong_busy(Milliseconds) ->
    Main = self(),
    Loops = [spawn(?MODULE, busy, [0]) || _ <- [1, 2]],
    timer:sleep(50),
    spawn(fun() ->
        Pong = spawn(fun() -> pong(-1) end),
        T0 = now_ns(),
        {K, Worst} = ping_until(Pong, 0, T0 + Milliseconds * 1000000, 0),
        Main ! {done, K, Worst, now_ns() - T0} end),
    receive {done, K, Worst, T} ->
        [exit(P, kill) || P <- Loops],
        ns("ping-pong-busy", "rtt", K, T),
        ns("ping-pong-busy", "worst", 1, Worst)
    end.
ping_until(P, K, End, Worst) ->
    T0 = now_ns(),
    P ! {self(), K}, receive K -> ok end,
    T1 = now_ns(),
    W = max(Worst, T1 - T0),
    if T1 >= End -> {K + 1, W}; true -> ping_until(P, K + 1, End, W) end.

%% A token goes round P processes, so many hops.
ring(P, Hops) ->
    Main = self(),
    First = spawn(fun() -> receive {next, Nx} -> ring_node(Nx, Main) end end),
    Last = ring_build(P - 1, First, Main),
    First ! {next, Last},
    T0 = now_ns(),
    First ! Hops,
    receive done -> ok end,
    ns("ring", "hop", Hops, now_ns() - T0).
ring_build(0, Prev, _) -> Prev;
ring_build(K, Prev, Main) -> ring_build(K - 1, spawn(fun() -> ring_node(Prev, Main) end), Main).
ring_node(Nx, Main) ->
    receive
        0 -> Main ! done;
        K when is_integer(K) -> Nx ! K - 1, ring_node(Nx, Main)
    end.

%% P processes send N messages together to one.
fan_in(P, N) ->
    Main = self(),
    Consumer = spawn(fun() -> Main ! {done, consume(N)} end),
    T0 = now_ns(),
    [spawn(fun() -> produce(Consumer, N div P) end) || _ <- lists:seq(1, P)],
    receive {done, T1} -> ns("fan-in", "per_message", N, T1 - T0) end.
produce(_, 0) -> ok;
produce(C, K) -> C ! K, produce(C, K - 1).
consume(0) -> now_ns();
consume(K) -> receive _X -> consume(K - 1) end.

%% A tree of processes with N leaves.
skynet(N) ->
    Main = self(),
    T0 = now_ns(),
    spawn(fun() -> sky(Main, 0, N) end),
    receive S -> S = N * (N - 1) div 2 end,
    ns("skynet", "total", 1, now_ns() - T0).
sky(Parent, Num, 1) -> Parent ! Num;
sky(Parent, Num, Size) ->
    Sz = Size div 10, Me = self(),
    sky_spawn(0, Me, Num, Sz),
    Parent ! sky_sum(10, 0).
sky_spawn(10, _, _, _) -> ok;
sky_spawn(I, Me, Num, Sz) ->
    spawn(fun() -> sky(Me, Num + I * Sz, Sz) end),
    sky_spawn(I + 1, Me, Num, Sz).
sky_sum(0, S) -> S;
sky_sum(K, S) -> receive X -> sky_sum(K - 1, S + X) end.

%% Four processes yield N times each, on two schedulers: each does two times as many.
yield(N) ->
    Main = self(),
    T0 = now_ns(),
    [spawn(fun() -> yields(N), Main ! done end) || _ <- lists:seq(1, 4)],
    [receive done -> ok end || _ <- lists:seq(1, 4)],
    ns("yield", "per_yield", 2 * N, now_ns() - T0).
yields(0) -> ok;
yields(K) -> erlang:yield(), yields(K - 1).

%% A process sleeps 1 ms, over and over, beside so many endless loops.
timer(Spin, Milliseconds) ->
    Main = self(),
    Loops = [spawn(?MODULE, busy, [0]) || _ <- lists:seq(1, Spin)],
    timer:sleep(100),
    spawn(fun() -> Main ! {late, ticks(now_ns() + Milliseconds * 1000000, [])} end),
    receive {late, L} -> ok end,
    [exit(P, kill) || P <- Loops],
    [io:format("LATE ~b~n", [X]) || X <- L].
ticks(End, L) ->
    T0 = now_ns(),
    receive after 1 -> ok end,
    T1 = now_ns(),
    L2 = [T1 - T0 - 1000000 | L],
    if T1 >= End -> L2; true -> ticks(End, L2) end.

%% Loads all modules of RabbitMQ at once, before it starts. It looks into every one of them for its boot steps, and to
%% have them loaded one by one for that costs three of the eight seconds of a processor that a start takes.
Needed = fun Needed(App, Seen) ->
    case lists:member(App, Seen) of
        true -> Seen;
        false ->
            application:load(App),
            {ok, Others} = application:get_key(App, applications),
            lists:foldl(Needed, [App | Seen], Others)
    end
end,
{ok, [Plugins]} = file:consult(os:getenv("RABBITMQ_ENABLED_PLUGINS_FILE")),
Apps = lists:foldl(Needed, [], [rabbit | Plugins]),
code:ensure_modules_loaded(lists:append([element(2, application:get_key(App, modules)) || App <- Apps])).

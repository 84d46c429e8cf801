-- SPDX-License-Identifier: MIT
-- For wrk: sixteen requests in one write.
init = function(args)
    local batch = {}
    for i = 1, 16 do
        batch[i] = wrk.format()
    end
    requests = table.concat(batch)
end

request = function()
    return requests
end
